// What the header of a block of libc's allocator says: is it a mapping of its own?
//
// A block's chunk begins two words before it: how far it lies behind the start of its mapping (only
// for such blocks), then its size with three flags. Bit 1 says "mapped by itself".
// Thread-safety: pure functions; the header must be readable. Callable from a hook: yes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shim/interpose/real.h"

namespace oomguard::interpose {

inline constexpr size_t kBlockHeader = 2 * sizeof(size_t);

struct OwnMapping {
  uintptr_t start;
  uintptr_t end;
};

// False: part of a heap, or nothing that libc's allocator would write there.
[[nodiscard]] inline bool find_own_mapping(const void* block, OwnMapping* out) noexcept {
  if (!allocator_is_libc()) return false;
  const size_t* header = static_cast<const size_t*>(block);
  const size_t size = header[-1] & ~size_t{7};
  const size_t before = header[-2];
  const uintptr_t chunk = reinterpret_cast<uintptr_t>(block) - kBlockHeader;
  constexpr uintptr_t kPage = 4096;  // also where pages are larger: they are multiples of it
  if ((header[-1] & 2) == 0 || before > chunk || (chunk - before) % kPage != 0) return false;
  if ((before + size) % kPage != 0 || size > SIZE_MAX - before) return false;
  *out = {chunk - before, chunk + size};
  return true;
}

}  // namespace oomguard::interpose
