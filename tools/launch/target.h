// The program that `run` was given: where it is, and whether it can be guarded.
#pragma once

#include <string>

#include "collector/record/result.h"

namespace oomguard::tools {

// The path that execvp would take for `program`. Errors: not found (127), not executable (126).
Result<std::string> find_program(const std::string& program);

// Whether ld.so will preload a library of this machine's C library into the program at `path` (for
// a script: into its interpreter). An error (126) says why not: statically linked, another word
// size, machine or C library, set-user-ID.
Result<bool> check_guardable(const std::string& path);

}  // namespace oomguard::tools
