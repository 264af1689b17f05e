// Opens a flight file as hostile data: whatever is in it, what comes out is safe to use.
//
// Guarantees of the copy: magic, version, sizes and the table of sections are those of its format;
// every string ends inside its field; every count is within its array; enumerations hold known
// values; `refusals` holds the whole records only, oldest first. Numbers may be anything, but sums
// over the sites and differences between samples stay within int64. Texts may hold any byte but
// NUL. The file may be written by a live process meanwhile.
// Thread-safety: no shared state. Callable from a hook: no (it allocates).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "collector/record/flight.h"
#include "collector/record/result.h"
#include "collector/record/stacks.h"
#include "collector/record/timeline.h"

namespace oomguard::record {

// One call stack that allocated (SiteRecord); estimates, none below 0.
struct Site {
  uint32_t index = 0;              // in the file: the same in each reading of a session
  uint32_t python_node = 0;
  uint32_t native_node = 0;
  int64_t live_bytes = 0;          // and there
  int64_t live_blocks = 0;
  int64_t allocated_bytes = 0;
  int64_t allocated_blocks = 0;
  int64_t untouched_bytes = 0;     // live, and not there at the newest look
  int64_t refused_bytes = 0;       // live and there when a request was refused last
};

struct PythonFrame {
  std::string file;
  std::string function;            // qualified name
  uint32_t line = 0;               // 0 unknown
  uint32_t first_line = 0;         // of the function
  bool entry = false;              // kEntry
  bool own = false;                // a person's own code, as the process judged it (own_code.h)
};

struct NativeFrame {
  int32_t module = -1;             // index in Flight::modules(); -1: none known
  uint64_t offset = 0;             // in the module's own addresses; without a module the address
};

struct Module {
  std::string path;
  std::string build_id;            // hexadecimal digits, "" none
  uint64_t start = 0;
  uint64_t end = 0;
  uint64_t bias = 0;
};

struct ModelFile {
  std::string path;
  int64_t size_bytes = 0;
  int64_t mapped_bytes = 0;        // 0: open, but not mapped
  int64_t seen_monotonic_ns = 0;
};

class Flight {
 public:
  const FlightHeader& header() const { return file_->header; }
  // Oldest first; each has sequence >= 1.
  const std::vector<const RefusalRecord*>& refusals() const { return refusals_; }
  const std::string& path() const { return path_; }

  // Oldest first, no time twice: each stretch as finely as the file has it.
  const std::vector<Sample>& samples() const { return samples_; }
  // Those with live or allocated bytes, in the order of the file.
  const std::vector<Site>& sites() const { return sites_; }
  // Outermost frame first, at most kDeepestStack; empty where the site has no such stack.
  std::vector<PythonFrame> python_stack(const Site& site) const;
  std::vector<NativeFrame> native_stack(const Site& site) const;
  // As indexed by NativeFrame::module; one that is not whole has an empty path.
  const std::vector<Module>& modules() const { return modules_; }
  const std::vector<ModelFile>& model_files() const { return model_files_; }

  static constexpr size_t kDeepestStack = 1024;

 private:
  friend Result<Flight> read_flight(const std::string& path);
  friend class SectionReader;

  // Frames of the path to `node`, leaf first: index of the FrameRecord and kEntry.
  template <typename Visit>
  void walk(uint32_t node, Visit visit) const;
  std::string text(uint32_t id) const;

  std::string path_;
  std::unique_ptr<FlightFile> file_;
  std::vector<const RefusalRecord*> refusals_;
  std::vector<Sample> samples_;
  std::vector<Site> sites_;
  std::vector<NodeRecord> nodes_;
  std::vector<FrameRecord> frames_;
  std::vector<Module> modules_;
  std::vector<ModelFile> model_files_;
  std::string strings_;
};

Result<Flight> read_flight(const std::string& path);

// The header alone, with the same guarantees: for lists of many sessions.
Result<std::unique_ptr<FlightHeader>> read_header(const std::string& path);

// The process that wrote it runs still: its number is in use, by a process with the same start.
bool is_running(const FlightHeader& header);

}  // namespace oomguard::record
