// Where a report goes: standard output, or a file that is there whole or not at all.
#pragma once

#include <string>

#include "collector/record/result.h"

namespace oomguard::tools {

// Writes `text` to a new file beside `path` and renames it, so that whoever opens `path` sees the
// old content or all of the new. It is readable by its owner alone (a report has paths and command
// lines). What is no regular file (/dev/stdout, a pipe) is written to as it is. The value is 0.
Result<int> write_whole(const std::string& path, const std::string& text);

}  // namespace oomguard::tools
