// What every format of a report is made from: the flight file's content in plain structs, with the
// stacks merged, symbols looked up, and bytes summed up by line of code.
//
// Thread-safety: none needed, the command has one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "collector/record/reader.h"
#include "tools/report/death.h"
#include "tools/report/stacks.h"

namespace oomguard::tools {

// Bytes and blocks are estimates from samples; blocks of 1 MiB or more are exact.
struct Held {
  int64_t live_bytes = 0;       // and filled
  int64_t live_blocks = 0;
  int64_t allocated_bytes = 0;  // since the start, also what was freed since
  int64_t allocated_blocks = 0;
  int64_t untouched_bytes = 0;  // granted, live, and not filled yet
  int64_t refused_bytes = 0;    // live and filled when a request was refused last
  Held& operator+=(const Held& other);
};

// One call stack that allocated: its leaf in each of the trees, 0 where it is not known.
struct SiteStacks {
  int python = 0;
  int native = 0;
  int merged = 0;
  int line = -1;  // the frame that it counts for (see Line)
  Held held;
};

// What one line of code holds. A stack counts for its innermost frame of the person's own code,
// else for its innermost Python frame, else for its innermost native one.
struct Line {
  int frame = -1;  // -1: no frame is known
  int stacks = 0;
  std::string source;  // the line's text, secrets masked; "" where it cannot be told
  Held held;
};

// A way to load a checkpoint, as collector/fit predicts it.
struct Way {
  std::string how;         // its arguments
  int64_t bytes;           // of the process's own memory, at the peak
  bool fits;
  int64_t read_again = 0;  // bytes from disk on each pass
};
struct Fit {
  std::string folder;      // of the checkpoint
  int64_t size_bytes = 0;  // of its files that were open
  int64_t room_bytes = 0;  // the limit less what others hold; INT64_MAX without a limit
  std::vector<Way> ways;   // the one to recommend first
};

struct Report {
  const record::Flight* flight = nullptr;
  bool running = false;              // the process is still there
  std::string headline;              // what happened, in one sentence
  std::vector<std::string> summary;  // what follows it on stderr and in a cell, line by line
  std::optional<Death> death;        // how the process ended, where somebody asked
  std::string numbers;               // every number of the newest refusal, as text
  Frames frames;
  Stacks python, native, merged;
  std::vector<SiteStacks> sites;
  std::vector<Line> lines;  // most live bytes first
  std::vector<Fit> fits;

  // What reports rank by: at a refusal what was held then, else what is held now.
  int64_t Held::* held = &Held::live_bytes;
  const char* held_when = "now";

  const record::FlightHeader& header() const { return flight->header(); }
  const record::RefusalRecord* newest() const {
    return flight->refusals().empty() ? nullptr : flight->refusals().back();
  }
};

// `flight` must outlive the report.
Report make_report(const record::Flight& flight);

// The time of day of a moment of the session's monotonic clock, in nanoseconds since 1970.
int64_t realtime_of(const record::FlightHeader& header, int64_t monotonic_ns);

// A Python frame as reports have it.
Frame frame_of(const record::PythonFrame& frame);

// Of the cell that this file stands for; 0 where that is not known.
uint32_t cell_number(const record::Flight& flight, const std::string& file);

// "train.py:41", "cell [3] line 2", "libtorch_cpu.so+0x1234"; of a function whose source is not
// known "libtorch_cpu.so" alone, since calls from all over it are one frame.
std::string place_of(const record::Flight& flight, const Frame& frame);
// "train.py:41 load": the place, and the function where it is known and has a name.
std::string line_name(const record::Flight& flight, const Frame& frame);
// "load (train.py:41)", "at::empty", or the place where no function is known.
std::string label_of(const record::Flight& flight, const Frame& frame);

}  // namespace oomguard::tools
