// Text from a file as a terminal may be shown it. Thread-safety: no state.
#pragma once

#include <string>

#include "collector/record/line_buffer.h"

namespace oomguard::tools {

// '?' for control characters.
inline std::string printable(const std::string& text) {
  std::string out(text.size() + 2, '\0');
  record::LineBuffer line(out.data(), out.size());
  line.name(text.c_str(), text.size()).end_line();
  out.resize(line.finish());
  if (!out.empty()) out.pop_back();
  return out;
}

}  // namespace oomguard::tools
