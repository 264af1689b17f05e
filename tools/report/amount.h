// Bytes as the command prints them.
#pragma once

#include <cstdint>
#include <string>

#include "collector/options/options.h"

namespace oomguard::tools {

inline std::string amount(int64_t bytes) {
  if (bytes == INT64_MAX) return "none";
  char text[24];
  return std::string(text, options::format_bytes(bytes, text, sizeof(text)));
}

}  // namespace oomguard::tools
