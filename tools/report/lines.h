// Bytes by line of code, and the text of those lines.
//
// Thread-safety: none needed, the command has one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/report/model.h"

namespace oomguard::tools {

// Which frame of a Python stack its bytes count for: the innermost of the person's own code, else
// the innermost; -1 for an empty stack. The process goes by the same rule at a refusal
// (shim/trace/holders.cc).
int frame_of_line(const std::vector<record::PythonFrame>& outermost_first);

// One Line for each frame that sites count for, most of `by` first, without their texts.
std::vector<Line> sum_by_line(const std::vector<SiteStacks>& sites, int64_t Held::* by);

// Line `number` (from 1) of a source file, without the space around it, secrets masked, at most 200
// bytes. "" unless the file is a regular one of this user's, that nobody has changed after
// `unchanged_since_seconds` (what stands there now may not be what ran).
std::string source_line(const std::string& file, int number, int64_t unchanged_since_seconds);

}  // namespace oomguard::tools
