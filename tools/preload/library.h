// Where liboomguard.so and an allocator behind it are, and LD_PRELOAD with them in front.
#pragma once

#include <string>

#include "collector/options/options.h"
#include "collector/record/result.h"

namespace oomguard::tools {

// Relative to the running command: ../lib, ../lib64 or ../lib/<triplet> of any prefix. An error
// where it is missing, and where ld.so could not be told its path: LD_PRELOAD has no quoting,
// spaces and colons separate entries, and $ begins a token that ld.so replaces.
Result<std::string> find_library();

// jemalloc's libjemalloc.so.2 of this machine, for --allocator; an error that names the package.
Result<std::string> find_jemalloc();

// What LD_PRELOAD has to begin with: the library, and the chosen allocator behind it.
Result<std::string> find_preload(const options::Values& settings);

// `preload` in front of the entries of `existing`, without an earlier liboomguard.so and without
// what `preload` has already.
std::string compose_preload(const std::string& preload, const std::string& existing);

}  // namespace oomguard::tools
