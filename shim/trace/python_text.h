// Strings of the interpreter, whatever the width of their characters is, as UTF-8.
// Thread-safety: of the memory they are given. Callable from a hook: yes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shim/trace/python_layout.h"
#include "shim/trace/python_memory.h"

namespace oomguard::trace {

// A string object's characters.
struct PythonText {
  uintptr_t characters;
  uint64_t length;
  uint32_t width;  // bytes of a character: 1, 2 or 4
};

// False: not there, or no string (of 3.11 and before also one of the old form, without characters).
[[nodiscard]] bool find_text(PythonMemory* memory, const PythonLayout& layout, uintptr_t object,
                             PythonText* out) noexcept;

// Writes it with a NUL, at most `capacity` bytes (at least 4). Of one that is longer the end is
// kept, behind "...": it says more of a path or a qualified name than the beginning. A surrogate (a
// byte of a file name that is no UTF-8) becomes U+FFFD. False: not readable to its end; `out` is
// "".
[[nodiscard]] bool copy_text(PythonMemory* memory, const PythonText& text, char* out,
                             size_t capacity) noexcept;

// The number of bytes that a character takes in UTF-8, and the bytes.
constexpr size_t utf8_bytes(uint32_t character) noexcept {
  return character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
}
size_t put_utf8(uint32_t character, char* out) noexcept;

}  // namespace oomguard::trace
