// How a process ended, and what the counters of its flight file are after that.
//
// Thread-safety: no shared state. Callable from a hook: no.
#pragma once

#include <string>

#include "collector/record/flight.h"

namespace oomguard::record {

// What whoever saw the end knows of it.
struct Ending {
  bool has_wait_status = false;
  int wait_status = 0;
  int sender_pid = 0;  // of the signal that ended it; 0 unknown
  std::string sender_name;
  bool asked = false;  // whoever started it wanted it to end
};

// Reads what the counters are now into a header whose process is gone. `root` is put before each
// path ("" on a live machine). What cannot be read, or is of another group, is -1.
void put_end(FlightHeader* header, const Ending& ending, const std::string& root = "");

// Puts that into the file that the header was read from. False where it cannot be written, and
// where it says there already how the process ended.
bool write_end(const std::string& path, const FlightHeader& header);

}  // namespace oomguard::record
