// From an instruction of a code object to its line, by the table that the version keeps.
//
// The table is read once from its start, byte by byte, from whatever `next(&byte)` yields, which is
// false at its end; damaged tables end in 0 or in a wrong line, never beyond the end.
// Thread-safety: pure functions. Callable from a hook: yes.
#pragma once

#include <cstdint>

#include "shim/trace/python_layout.h"

namespace oomguard::trace {

// A line that a table may name, else 0: unknown.
constexpr int sound_line(int64_t line) noexcept {
  return line > 0 && line <= INT32_MAX ? static_cast<int>(line) : 0;
}

// co_lnotab: how many bytes and how many lines further the next entry is.
template <typename Next>
int line_in_pairs(Next next, int first_line, uint32_t instruction_bytes) noexcept {
  int64_t line = first_line;
  uint64_t reached = 0;
  uint8_t bytes;
  uint8_t lines;
  while (next(&bytes) && next(&lines)) {
    reached += bytes;
    if (reached > instruction_bytes) break;
    line += static_cast<int8_t>(lines);
  }
  return sound_line(line);
}

// co_linetable of 3.10: how many bytes have the line that lies so many further; -128: none.
template <typename Next>
int line_in_ranges(Next next, int first_line, uint32_t instruction_bytes) noexcept {
  int64_t line = first_line;
  uint64_t end = 0;
  uint8_t bytes;
  uint8_t lines;
  while (next(&bytes) && next(&lines)) {
    const auto delta = static_cast<int8_t>(lines);
    if (delta != -128) line += delta;
    end += bytes;
    if (end > instruction_bytes) return delta == -128 ? 0 : sound_line(line);
  }
  return 0;
}

// co_linetable of 3.11 on (Objects/locations.md): an entry begins with a byte that has its top bit
// set, its kind in four bits and the number of code units less one in three.
template <typename Next>
int line_in_locations(Next next, int first_line, uint32_t instruction_bytes) noexcept {
  constexpr uint8_t kStart = 0x80;
  constexpr int kNoColumns = 13;
  constexpr int kLong = 14;
  constexpr int kNone = 15;
  int64_t line = first_line;
  uint64_t end = 0;
  uint8_t byte;
  if (!next(&byte)) return 0;
  for (;;) {
    if ((byte & kStart) == 0) return 0;
    const int kind = byte >> 3 & 15;
    end += uint64_t{2} * ((byte & 7u) + 1);
    bool more = next(&byte);
    if (kind == kNoColumns || kind == kLong) {
      uint64_t value = 0;  // six bits in each byte, the least first; the lowest is the sign
      for (unsigned shift = 0; more && (byte & kStart) == 0; shift += 6) {
        if (shift < 36) value |= uint64_t{byte & 63u} << shift;
        const bool goes_on = (byte & 64) != 0;
        more = next(&byte);
        if (!goes_on) break;
      }
      const auto lines = static_cast<int64_t>(value >> 1);
      line += (value & 1) != 0 ? -lines : lines;
    } else if (kind >= 10 && kind <= 12) {
      line += kind - 10;
    }
    if (end > instruction_bytes) return kind == kNone ? 0 : sound_line(line);
    while (more && (byte & kStart) == 0) more = next(&byte);
    if (!more) return 0;
  }
}

template <typename Next>
int line_in_table(LineTable form, Next next, int first_line, uint32_t instruction_bytes) noexcept {
  switch (form) {
    case LineTable::kPairs:
      return line_in_pairs(next, first_line, instruction_bytes);
    case LineTable::kRanges:
      return line_in_ranges(next, first_line, instruction_bytes);
    case LineTable::kLocations:
      return line_in_locations(next, first_line, instruction_bytes);
  }
  return 0;
}

}  // namespace oomguard::trace
