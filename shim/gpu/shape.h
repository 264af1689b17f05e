// What an array takes, by its shape: the driver tells nobody. Layouts on the card may round it up.
// Pure functions.
#pragma once

#include <algorithm>

#include "shim/gpu/abi.h"
#include "shim/gpu/ledger.h"

namespace oomguard::gpu {

// Bits of one element (of a block-compressed format, on average of its 16).
constexpr unsigned element_bits(int format) noexcept {
  switch (format) {
    case 0x01: case 0x08: return 8;    // INT8
    case 0x02: case 0x09: case 0x10: return 16;  // INT16, HALF
    case 0x03: case 0x0a: case 0x20: return 32;  // INT32, FLOAT
    case 0xb0: return 12;              // NV12
    default: break;
  }
  // One value stands for all channels here.
  if (format >= 0xc0 && format <= 0xcb)
    return ((format - 0xc0) % 6 < 3 ? 8 : 16) << (format - 0xc0) % 3;
  if ((format >= 0x91 && format <= 0x92) || (format >= 0x97 && format <= 0x98)) return 4;  // BC1, 4
  if (format >= 0x93 && format <= 0x9e) return 8;  // the other BC
  return 32;
}

constexpr bool has_own_channels(int format) noexcept { return format >= 0x50; }

inline Bytes size_of(const CUarray3DDescriptor* shape, unsigned levels) noexcept {
  if (shape == nullptr || (shape->flags & (kArraySparse | kArrayDeferred)) != 0) return 0;
  constexpr __int128 kMost = __int128{1} << 60;
  const __int128 bits =
      element_bits(shape->format) * (has_own_channels(shape->format) ? 1 : shape->channels);
  __int128 sum = 0;
  for (unsigned level = 0; level < std::clamp(levels, 1u, 64u); ++level) {
    const auto side = [level](size_t full) {
      return static_cast<__int128>(std::max<size_t>(full >> level, 1));
    };
    const __int128 area = std::min(side(shape->width) * side(shape->height), kMost);
    sum += std::min(std::min(area * side(shape->depth), kMost) * bits / 8, kMost);
  }
  return static_cast<Bytes>(std::min(sum, kMost));
}

inline Bytes size_of(const CUarrayDescriptor* shape) noexcept {
  if (shape == nullptr) return 0;
  const CUarray3DDescriptor full{shape->width,    shape->height, 0, shape->format,
                                 shape->channels, 0};
  return size_of(&full, 1);
}

}  // namespace oomguard::gpu
