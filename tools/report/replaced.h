// What a kernel says of the one that it replaces.
//
// Thread-safety: none needed, the command has one thread.
#pragma once

#include <string>

#include "collector/record/result.h"

namespace oomguard::tools {

// {"text": ..., "html": ...} of the kernel that died before the running one with this connection
// file was started: it had the same file, or, where that is gone with its server, the same
// notebook. Its session remembers that it was told. An error where there is none, or nothing to
// explain.
Result<std::string> replaced_kernel(const std::string& directory, const std::string& connection);

}  // namespace oomguard::tools
