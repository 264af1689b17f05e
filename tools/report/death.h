// Why the process of a session is gone, for reports and for whoever started it.
//
// Thread-safety: none needed, the command has one thread.
#pragma once

#include <string>
#include <vector>

#include "collector/record/ending.h"
#include "collector/record/reader.h"
#include "collector/verdict/verdict.h"

namespace oomguard::tools {

struct Report;

struct Death {
  verdict::Verdict verdict;
  std::string what;                   // "was killed", "crashed"
  std::string cause;                  // in a sentence or two
  std::string cause_without_paths;  // for a notebook, and where nothing of the machine may be told
  bool is_about_memory = true;
  std::vector<std::string> more;  // then: why it was not prevented, how it grew, what was largest
  std::vector<std::string> evidence;  // what the verdict rests on
  int64_t at_realtime_ns = 0;         // when it was seen last

  // Neither running nor an end of its own making, and nothing that was said when it happened.
  bool is_to_explain() const;
};

// What is known of the session's end; where nobody has looked after it yet this does, and leaves
// what it found in the file (which counters are still the process's own is a question of time).
Death explain_death(const record::Flight& flight);

// The same for whoever saw the process end. `seen`: counters of its groups from before, for a
// session that has none; may be null.
Death explain_end(const record::Flight& flight, const record::Ending& ending,
                  const record::FlightHeader* seen);

// Of a process without a session: only its exit status and the counters from before, `header`,
// which gets those from after.
Death explain_end(record::FlightHeader* header, const record::Ending& ending);

// "train.py:41 2.3 GiB, model.py:7 0.4 GiB": the Python lines that held most when the process was
// seen last; "" where none is known.
std::string largest_lines(const record::Flight& flight);

// Says it in the report, too.
void put_death(const Death& death, Report* report);

}  // namespace oomguard::tools
