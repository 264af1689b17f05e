// Opens a flight file as hostile data: whatever is in it, what comes out is safe to use.
//
// Guarantees of the copy: magic, version and sizes are those of flight.h; every string ends inside
// its field; every count is within its array; enumerations hold known values; `refusals` holds the
// whole records only, oldest first. The file may be written by a live process meanwhile.
// Thread-safety: no shared state. Callable from a hook: no (it allocates).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "collector/record/flight.h"
#include "collector/record/result.h"

namespace oomguard::record {

class Flight {
 public:
  const FlightHeader& header() const { return file_->header; }
  // Oldest first; each has sequence >= 1.
  const std::vector<const RefusalRecord*>& refusals() const { return refusals_; }
  const std::string& path() const { return path_; }

 private:
  friend Result<Flight> read_flight(const std::string& path);

  std::string path_;
  std::unique_ptr<FlightFile> file_;
  std::vector<const RefusalRecord*> refusals_;
};

Result<Flight> read_flight(const std::string& path);

// The header alone, with the same guarantees: for lists of many sessions.
Result<std::unique_ptr<FlightHeader>> read_header(const std::string& path);

// The process that wrote it runs still: its number is in use, by a process with the same start.
bool is_running(const FlightHeader& header);

}  // namespace oomguard::record
