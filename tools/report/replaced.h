// What a kernel says of the one that it replaces.
//
// Thread-safety: none needed, the command has one thread.
#pragma once

#include <string>

#include "collector/record/result.h"

namespace oomguard::tools {

// For the parent of this process, which is the kernel with this connection file: {"text": ...,
// "html": ...} of the kernel that died before it was started and had the same file, or, where that
// is gone with its server, the same notebook. Its session remembers that it was told, and in a pod
// one line goes to the log. {"line": ...} where a file cannot be read that may be that kernel's. An
// error where there is none, or nothing to explain.
Result<std::string> replaced_kernel(const std::string& directory, const std::string& connection);

}  // namespace oomguard::tools
