// Where liboomguard.so is, and LD_PRELOAD with it in front.
#pragma once

#include <string>

#include "collector/record/result.h"

namespace oomguard::tools {

// Relative to the running command: ../lib, ../lib64 or ../lib/<triplet> of any prefix. An error
// where it is missing, and where ld.so could not be told its path: LD_PRELOAD has no quoting,
// spaces and colons separate entries, and $ begins a token that ld.so replaces.
Result<std::string> find_library();

// The library in front of the entries of `existing`, without an earlier liboomguard.so.
std::string compose_preload(const std::string& library, const std::string& existing);

}  // namespace oomguard::tools
