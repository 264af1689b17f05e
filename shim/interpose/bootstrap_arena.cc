#include "shim/interpose/bootstrap_arena.h"

#include <atomic>
#include <cstdint>

namespace oomguard::interpose {
namespace {

constexpr size_t kArenaBytes = 256 * 1024;  // untouched pages of it cost nothing
constexpr size_t kHeaderBytes = 16;         // holds the block's size, keeps 16-byte alignment

alignas(64) constinit unsigned char g_arena[kArenaBytes] = {};
constinit std::atomic<size_t> g_next{0};

}  // namespace

void* bootstrap_allocate(size_t size, size_t alignment) noexcept {
  if (alignment < 16) alignment = 16;
  if ((alignment & (alignment - 1)) != 0 || alignment > kArenaBytes || size > kArenaBytes) {
    return nullptr;
  }
  const size_t span = size + alignment + kHeaderBytes;
  const size_t start = g_next.fetch_add((span + 15) & ~size_t{15}, std::memory_order_relaxed);
  if (start + span > kArenaBytes) return nullptr;
  uintptr_t block = reinterpret_cast<uintptr_t>(g_arena) + start + kHeaderBytes;
  block = (block + alignment - 1) & ~(uintptr_t{alignment} - 1);
  *reinterpret_cast<size_t*>(block - kHeaderBytes) = size;
  return reinterpret_cast<void*>(block);
}

bool in_bootstrap_arena(const void* pointer) noexcept {
  return reinterpret_cast<uintptr_t>(pointer) - reinterpret_cast<uintptr_t>(g_arena) < kArenaBytes;
}

size_t bootstrap_size(const void* pointer) noexcept {
  return *reinterpret_cast<const size_t*>(static_cast<const unsigned char*>(pointer) -
                                          kHeaderBytes);
}

}  // namespace oomguard::interpose
