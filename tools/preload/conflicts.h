// What is preloaded beside the library and does not go together with it, as far as it is known by
// name. Thread-safety: none needed, the command has one thread.
#pragma once

#include <string>
#include <vector>

namespace oomguard::tools {

struct Conflict {
  std::string library;
  std::string what;  // a sentence for a person
};

struct Preloaded {
  bool guarded = false;  // the library is there
  std::vector<Conflict> conflicts;
};

// In a process that runs; `pid` 0: in what this command's own environment would start.
Preloaded look_at_preloaded(int pid);

// `libraries` in the loader's order: those of LD_PRELOAD first. Pure.
Preloaded judge_preloaded(const std::vector<std::string>& libraries);

}  // namespace oomguard::tools
