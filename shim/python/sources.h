// The embedded Python sources, made from the .py files of this folder by embed.cmake.
// `boot` runs in every guarded interpreter; the others are compiled on first use.
// Thread-safety: constants. Callable from a hook: yes, though nothing there asks.
#pragma once

#include <cstddef>

namespace oomguard::python {

struct Source {
  const char* name;  // "boot", "api", ...
  const char* text;  // UTF-8, ends with a NUL byte
  size_t size;       // without that byte
};

extern const Source kSources[];
extern const size_t kSourceCount;

// Null where there is no source of that name.
const Source* find_source(const char* name) noexcept;

}  // namespace oomguard::python
