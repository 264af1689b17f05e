// The fake driver's cards and what every function does first. Thread-safe; the counters of a card
// are atomics in memory that several processes may share, everything else is under one mutex.
#ifndef OOMGUARD_TESTS_GPU_FAKE_ARENA_H
#define OOMGUARD_TESTS_GPU_FAKE_ARENA_H

#define __CUDA_API_VERSION_INTERNAL  // every form of every function
#include <cuda.h>
#include <cudaTypedefs.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "tests/gpu/fake/fake_cuda.h"
#include "tests/gpu/fake/function_id.h"
#include "tests/gpu/fake/shared_cards.h"

namespace fake {

inline constexpr uint64_t kMiB = 1 << 20;
inline constexpr uint64_t kVmmGranularity = 2 * kMiB;
inline constexpr uint64_t kPoolPiece = 32 * kMiB;

// Counts a call; a status where it has to fail: as scripted, before cuInit (but for what may be
// called then), and in a child of the process that called cuInit.
std::optional<CUresult> enter(Id id);

// The cards that CUDA_VISIBLE_DEVICES shows, by ordinal, as numbers of shared cards.
const std::vector<int>& visible();
bool ordinal_ok(CUdevice device);
int driver_version();
uint64_t context_bytes();

// Takes bytes of a card if they are free, and gives them back. `device` is an ordinal.
[[nodiscard]] bool take(CUdevice device, fake_cuda_kind kind, uint64_t bytes);
void give(CUdevice device, fake_cuda_kind kind, uint64_t bytes);
void wait_as_told();  // fake_cuda_delay

struct Context {
  CUdevice device;
  bool primary;
};
// The calling thread's current context, or null.
Context* current();
// The context with everything that was allocated in it ends; needs the mutex.
void end_context(Context* context);

// What an address stands for.
struct Block {
  fake_cuda_kind kind;
  CUdevice device;
  uint64_t bytes;
  Context* context;
  CUmemoryPool pool = nullptr;
  bool imported = false;
  bool reserved_only = false;  // cuMemAddressReserve
};

struct World {
  std::mutex mutex;
  std::map<CUdeviceptr, Block> blocks;
  std::map<uint64_t, std::vector<CUdeviceptr>> free_addresses;  // by size: the driver reuses them
  CUdeviceptr next_address = 0x100000000000;
  CUdeviceptr next_low_address = 0x10000000;  // for the 32-bit forms
};
World& world();

// A new address for so many bytes, an old one again where one of that size was freed; needs the
// mutex. The other makes it free again.
CUdeviceptr make_address(uint64_t bytes, bool low = false);
void drop_address(CUdeviceptr address, uint64_t bytes);

// Frees a block of cuMemAlloc, pitch or managed memory, or what a graph or pool allocated.
CUresult free_block(CUdeviceptr address);
// Give back what pools and captured graphs know of an address; need the mutex.
void pool_free(const Block& block);

// Page-locked memory: from the kernel, not from libc, as with a real driver.
void* map_host(uint64_t bytes);
void unmap_host(void* pointer, uint64_t bytes);

// Ends the process: a real driver would use memory that is no longer there.
[[noreturn]] void stale(const char* what);

inline uint64_t round_up(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

}  // namespace fake

// The first line of every function.
#define FAKE_CUDA_ENTER(symbol)                                            \
  if (const auto early = fake::enter(fake::Id::symbol)) return *early

#endif  // OOMGUARD_TESTS_GPU_FAKE_ARENA_H
