// Strings of fixed size, cut where they do not fit, always ended. Callable from a hook: yes.
#pragma once

#include <cstddef>
#include <cstring>

namespace oomguard {

inline void copy_text(char* out, size_t capacity, const char* text) noexcept {
  size_t i = 0;
  for (; i + 1 < capacity && text[i] != '\0'; ++i) out[i] = text[i];
  out[i] = '\0';
}

// Of what does not fit the end: of a path it tells more than the beginning.
template <size_t N>
void copy_end(char (&out)[N], const char* text) noexcept {
  const size_t length = strlen(text);
  copy_text(out, N, length < N ? text : text + length - (N - 1));
}

}  // namespace oomguard
