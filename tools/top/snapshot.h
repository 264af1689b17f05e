// What `oomguard top` shows of the guarded processes that run.
// Thread-safety: no state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "collector/record/reader.h"
#include "collector/record/result.h"

namespace oomguard::tools {

struct Guarded {
  int32_t pid = 0;
  std::string command;
  int64_t own_bytes = -1;          // memory of the process; -1 unknown
  int64_t needed_bytes = -1;       // of the limit, by everybody on it
  int64_t limit_bytes = INT64_MAX;
  int64_t headroom_bytes = INT64_MAX;
  int64_t growth_bytes = 0;        // of the process, for each second of the last few
  uint64_t refusals = 0;
  std::string line;                // of code that holds most: "train.py:7 main"; else the module; ""
  int64_t line_bytes = 0;
};

Guarded look_at(const record::Flight& flight);

// Those of the folder that run, the largest first.
Result<std::vector<Guarded>> look_at_running(const std::string& directory);

// The table for a terminal of so many columns, with its head; `rows` 0: as many as there are.
std::string table_of(const std::vector<Guarded>& processes, size_t columns, size_t rows);

}  // namespace oomguard::tools
