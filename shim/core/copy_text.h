// Strings of fixed size, cut where they do not fit, always ended. Callable from a hook: yes.
#pragma once

#include <cstddef>

namespace oomguard {

inline void copy_text(char* out, size_t capacity, const char* text) noexcept {
  size_t i = 0;
  for (; i + 1 < capacity && text[i] != '\0'; ++i) out[i] = text[i];
  out[i] = '\0';
}

}  // namespace oomguard
