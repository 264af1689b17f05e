// NVIDIA's management library: what a card has in use and by whom, which the driver does not tell,
// and the view of it.
//
// Loaded by us only where a budget is configured and the process makes a context on a card; else
// used where the program has it already. Whatever it does not tell is unknown.
// Thread-safety: all. Not async-signal-safe. Callable from the GPU hooks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shim/gpu/ledger.h"

namespace oomguard::gpu::nvml {

struct Memory {  // nvmlMemory_t
  uint64_t total;
  uint64_t free;
  uint64_t used;
};
struct MemoryV2 {  // nvmlMemory_v2_t
  uint32_t version;
  uint64_t total;
  uint64_t reserved;
  uint64_t free;
  uint64_t used;
};

struct Process {
  int32_t pid;
  Bytes bytes;
};

// False: it is not there. `load`: it may be loaded for this.
[[nodiscard]] bool open(bool load) noexcept;
// Of all processes; -1 unknown.
[[nodiscard]] Bytes in_use(int device) noexcept;
// Those that compute on the card, as far as they and their bytes are visible. Answers how many.
size_t list(int device, Process* out, size_t capacity) noexcept;

// What a lookup of that name is answered with (see gpu::hook_of).
[[nodiscard]] void* hook_of(const char* name, void* address) noexcept;

}  // namespace oomguard::gpu::nvml

extern "C" {
int oomguard_gpu_nvmlDeviceGetMemoryInfo(void* device,
                                         oomguard::gpu::nvml::Memory* memory) noexcept;
int oomguard_gpu_nvmlDeviceGetMemoryInfo_v2(void* device,
                                            oomguard::gpu::nvml::MemoryV2* memory) noexcept;
}
