// What _PyRuntime begins with in 3.13 and 3.14, as words of 64 bits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "shim/trace/python_layout.h"

namespace oomguard::trace {

inline constexpr uint64_t kCookie = 0x7970677562656478;

using Offsets = std::array<uint64_t, kDebugOffsetsBytes / 8>;

inline void put(Offsets* out, size_t at, std::initializer_list<uint64_t> words) {
  for (const uint64_t word : words) (*out)[at++] = word;
}

// What 3.13.0 publishes.
inline Offsets of_313() {
  Offsets words{};
  put(&words, 0, {kCookie, 0x030d00f0, 0});
  put(&words, 19, {312, 0, 8, 16, 72, 152, 160, 232, 32});                     // thread_state
  put(&words, 28, {80, 8, 0, 56, 72, 70});                                     // interpreter_frame
  put(&words, 34, {208, 112, 120, 128, 136, 68, 52, 96, 104, 200});            // code_object
  put(&words, 44, {16, 8});                                                    // pyobject
  put(&words, 64, {40, 16, 32});                                               // bytes_object
  put(&words, 67, {64, 32, 16, 40});                                           // unicode_object
  return words;
}

// 3.14 as its header has it (pycore_debug_offsets.h), with offsets that differ from 3.13's.
inline Offsets of_314() {
  Offsets words{};
  put(&words, 0, {kCookie, 0x030e00f0, 0});
  put(&words, 22, {480, 0, 8, 16, 80, 152, 160, 232, 32});
  put(&words, 31, {88, 8, 0, 56, 80, 74, 64, 0});
  put(&words, 39, {216, 112, 120, 128, 136, 68, 52, 96, 104, 208, 0});
  put(&words, 50, {16, 8});
  put(&words, 74, {40, 16, 32});
  put(&words, 77, {64, 32, 16, 40});
  return words;
}

}  // namespace oomguard::trace
