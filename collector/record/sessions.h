// The folder of sessions: which there are, and which may go.
//
// Thread-safety: no shared state. Callable from a hook: no (it allocates).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "collector/record/result.h"

namespace oomguard::record {

struct SessionFile {
  std::string path;
  std::string name;  // without ".flight": what a person types
  int64_t start_seconds = 0;
  int32_t pid = 0;
};

// Newest first. Only files of this user's that are named like sessions; an absent folder has none.
Result<std::vector<SessionFile>> list_sessions(const std::string& directory);

struct Keep {
  size_t files = 200;
  int64_t days = 30;
};
// Removes what is older or more than `keep` says, and what a process that is gone left behind
// without a single refusal and without a death to explain. Never a running process's file. Returns
// how many went.
size_t prune_sessions(const std::string& directory, const Keep& keep);

}  // namespace oomguard::record
