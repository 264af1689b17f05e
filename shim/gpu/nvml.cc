#include "shim/gpu/nvml.h"

#include <string.h>

#include <algorithm>
#include <initializer_list>

#include "shim/core/dl.h"
#include "shim/gpu/budget.h"
#include "shim/gpu/driver.h"
#include "shim/interpose/loader.h"

namespace oomguard::gpu::nvml {
namespace {

constexpr const char* kFile = "libnvidia-ml.so.1";
constexpr int kOk = 0;
constexpr size_t kName = 80;
constexpr size_t kMostProcesses = 128;
constexpr uint64_t kUnknown = UINT64_MAX;

struct ProcessInfo {  // nvmlProcessInfo_t
  uint32_t pid;
  uint64_t used;
  uint32_t gpu_instance;
  uint32_t compute_instance;
};

struct Library {
  int (*nvmlInit_v2)();
  int (*nvmlDeviceGetHandleByUUID)(const char*, void**);
  int (*nvmlDeviceGetUUID)(void*, char*, unsigned);
  int (*nvmlDeviceGetMemoryInfo)(void*, Memory*);
  int (*nvmlDeviceGetMemoryInfo_v2)(void*, MemoryV2*);
  int (*nvmlDeviceGetComputeRunningProcesses_v3)(void*, unsigned*, ProcessInfo*);
};
// Filled by everybody who comes first, with the same.
constinit Library g_library{};
constinit std::atomic<bool> g_found{false};
constinit std::atomic<bool> g_started{false};  // by us; never ended, as a program may end its own

template <typename Function>
void ask(void* handle, const char* symbol, Function** out) noexcept {
  *out = reinterpret_cast<Function*>(interpose::next_dlsym(handle, symbol));
}

bool find(bool load) noexcept {
  if (g_found.load(std::memory_order_acquire)) return true;
  // Its functions are kept, so it stays.
  void* handle = dlopen(kFile, RTLD_LAZY | RTLD_NODELETE | (load ? 0 : RTLD_NOLOAD));
  if (handle != nullptr) {
    ask(handle, "nvmlInit_v2", &g_library.nvmlInit_v2);
    ask(handle, "nvmlDeviceGetHandleByUUID", &g_library.nvmlDeviceGetHandleByUUID);
    ask(handle, "nvmlDeviceGetUUID", &g_library.nvmlDeviceGetUUID);
    ask(handle, "nvmlDeviceGetMemoryInfo", &g_library.nvmlDeviceGetMemoryInfo);
    ask(handle, "nvmlDeviceGetMemoryInfo_v2", &g_library.nvmlDeviceGetMemoryInfo_v2);
    ask(handle, "nvmlDeviceGetComputeRunningProcesses_v3",
        &g_library.nvmlDeviceGetComputeRunningProcesses_v3);
    g_found.store(true, std::memory_order_release);
  }
  dlerror();
  return handle != nullptr;
}

// "GPU-00112233-4455-..." of a card, "MIG-..." of a part of one.
bool name_of(int device, const char* kind, char* out) noexcept {
  CUuuid uuid{};
  const auto ask_name = driver.cuDeviceGetUuid_v2 != nullptr ? driver.cuDeviceGetUuid_v2
                                                             : driver.cuDeviceGetUuid;
  if (ask_name == nullptr || ask_name(&uuid, device) != kSuccess) return false;
  memcpy(out, kind, 4);
  size_t used = 4;
  for (size_t i = 0; i < sizeof uuid.bytes; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out[used++] = '-';
    out[used++] = "0123456789abcdef"[uuid.bytes[i] >> 4];
    out[used++] = "0123456789abcdef"[uuid.bytes[i] & 15];
  }
  out[used] = '\0';
  return true;
}

void* handle_of(int device) noexcept {
  if (!g_started.load(std::memory_order_acquire)) return nullptr;
  for (const char* kind : {"GPU-", "MIG-"}) {
    char name[kName];
    void* handle = nullptr;
    if (name_of(device, kind, name) && g_library.nvmlDeviceGetHandleByUUID != nullptr &&
        g_library.nvmlDeviceGetHandleByUUID(name, &handle) == kOk) {
      return handle;
    }
  }
  return nullptr;
}

// The program's own number of a card; -1: it has made no use of that one.
int number_of(void* handle) noexcept {
  char wanted[kName + 1] = "";
  char name[kName];
  if (!is_bound() || g_library.nvmlDeviceGetUUID == nullptr ||
      g_library.nvmlDeviceGetUUID(handle, wanted, kName) != kOk) {
    return -1;
  }
  for (int device = 0; device < static_cast<int>(kCards); ++device) {
    if (!name_of(device, "GPU-", name)) return -1;
    if (strcmp(name + 4, wanted + 4) == 0) return device;
  }
  return -1;
}

// Lowers what was told of a card's memory to what the program may use. False: it may use all.
bool limit(void* handle, uint64_t* total, uint64_t* free) noexcept {
  size_t left = *free;
  size_t all = *total;
  limit_view(number_of(handle), &left, &all);
  if (left == *free && all == *total) return false;
  *total = all;
  *free = std::min<uint64_t>(left, all);
  return true;
}

}  // namespace

bool open(bool load) noexcept {
  if (g_started.load(std::memory_order_acquire)) return true;
  if (!find(load) || g_library.nvmlInit_v2 == nullptr || g_library.nvmlInit_v2() != kOk)
    return false;
  g_started.store(true, std::memory_order_release);
  return true;
}

Bytes in_use(int device) noexcept {
  void* handle = handle_of(device);
  Memory memory{};
  if (handle == nullptr || g_library.nvmlDeviceGetMemoryInfo == nullptr ||
      g_library.nvmlDeviceGetMemoryInfo(handle, &memory) != kOk) {
    return -1;
  }
  return static_cast<Bytes>(memory.used);
}

size_t list(int device, Process* out, size_t capacity) noexcept {
  void* handle = handle_of(device);
  ProcessInfo found[kMostProcesses];
  unsigned count = kMostProcesses;
  if (handle == nullptr || g_library.nvmlDeviceGetComputeRunningProcesses_v3 == nullptr ||
      g_library.nvmlDeviceGetComputeRunningProcesses_v3(handle, &count, found) != kOk) {
    return 0;
  }
  size_t used = 0;
  for (unsigned i = 0; i < count && i < kMostProcesses && used < capacity; ++i) {
    if (found[i].used == kUnknown) continue;
    out[used++] = {static_cast<int32_t>(found[i].pid), static_cast<Bytes>(found[i].used)};
  }
  return used;
}

void* hook_of(const char* name, void* address) noexcept {
  // Another library's function of that name (a wrapper's) is left to its handles.
#define OOMGUARD_NVML(symbol)                                                               \
  if (strcmp(name, #symbol) == 0)                                                           \
    return find(false) && reinterpret_cast<void*>(g_library.symbol) == address              \
               ? reinterpret_cast<void*>(oomguard_gpu_##symbol)                             \
               : address;
#include "shim/gpu/nvml.def"
#undef OOMGUARD_NVML
  return address;
}

}  // namespace oomguard::gpu::nvml

namespace nvml = oomguard::gpu::nvml;

// NVML_ERROR_UNINITIALIZED: a program that came by our name, and no library behind it.
constexpr int kUninitialized = 1;

int oomguard_gpu_nvmlDeviceGetMemoryInfo(void* device, nvml::Memory* memory) noexcept {
  if (!nvml::find(false) || nvml::g_library.nvmlDeviceGetMemoryInfo == nullptr)
    return kUninitialized;
  const int status = nvml::g_library.nvmlDeviceGetMemoryInfo(device, memory);
  if (status == nvml::kOk && memory != nullptr &&
      nvml::limit(device, &memory->total, &memory->free)) {
    memory->used = memory->total - memory->free;
  }
  return status;
}

int oomguard_gpu_nvmlDeviceGetMemoryInfo_v2(void* device, nvml::MemoryV2* memory) noexcept {
  if (!nvml::find(false) || nvml::g_library.nvmlDeviceGetMemoryInfo_v2 == nullptr)
    return kUninitialized;
  const int status = nvml::g_library.nvmlDeviceGetMemoryInfo_v2(device, memory);
  if (status == nvml::kOk && memory != nullptr &&
      nvml::limit(device, &memory->total, &memory->free)) {
    memory->reserved = std::min(memory->reserved, memory->total - memory->free);
    memory->used = memory->total - memory->free - memory->reserved;
  }
  return status;
}
