// What is shown of a kernel that died, with the first cell of the one that replaces it: what it
// died of and in which cell, how memory moved, who held it, and what would fit.
//
// Thread-safety: none needed, the command has one thread.
#pragma once

#include <string>

#include "collector/record/reader.h"
#include "tools/report/death.h"

namespace oomguard::tools {

struct Panel {
  std::string text;
  std::string html;  // readable on a light and on a dark ground; loads nothing from elsewhere
};
Panel make_panel(const record::Flight& flight, const Death& death);

// "14:02:11" of a moment in nanoseconds since 1970.
std::string time_of_day(int64_t realtime_ns);
// "train.ipynb" where its server names it, else "".
std::string notebook_of(const record::FlightHeader& header);

}  // namespace oomguard::tools
