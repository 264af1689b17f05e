// Bytes by line of code, and the text of those lines.
//
// Thread-safety: none needed, the command has one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/report/model.h"

namespace oomguard::tools {

// The frame that a stack counts for (see Line); -1 for an empty one.
int frame_of_line(const Frames& frames, const std::vector<int>& python_outermost_first,
                  const std::vector<int>& native_outermost_first);

// One Line for each such frame, most of `by` first, without their texts.
std::vector<Line> sum_by_line(const Frames& frames, const Stacks& python, const Stacks& native,
                              const std::vector<SiteStacks>& sites, int64_t Held::* by);

// Line `number` (from 1) of a source file, without the space around it, secrets masked, at most 200
// bytes. "" unless the file is a regular one of this user's, that nobody has changed after
// `unchanged_since_seconds` (what stands there now may not be what ran).
std::string source_line(const std::string& file, int number, int64_t unchanged_since_seconds);

}  // namespace oomguard::tools
