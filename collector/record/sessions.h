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
  int64_t disk_bytes = 0;  // what it takes on the disk
};

// Newest first. Only files of this user's that are named like sessions; an absent folder has none.
Result<std::vector<SessionFile>> list_sessions(const std::string& directory);

struct Keep {
  size_t files = 200;
  int64_t days = 30;
  int64_t bytes = int64_t{1} << 30;  // on the disk, of all together
};
struct Pruned {
  size_t files = 0;
  int64_t bytes = 0;       // that the disk got back
};
// Removes what is older or more than `keep` says, the oldest first, and what a process that is gone
// left behind without a single refusal and without a death to explain. Of what stays and whose
// process is gone, the parts of the file that were never used are given back to the disk. Never
// touches a running process's file, which counts all the same.
Pruned prune_sessions(const std::string& directory, const Keep& keep);

// Its process runs: its file is being written.
bool is_running(const SessionFile& session);
// Removes one; an error where its process runs.
Result<int> remove_session(const SessionFile& session);

}  // namespace oomguard::record
