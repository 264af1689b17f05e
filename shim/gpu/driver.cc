#include "shim/gpu/driver.h"

#include <link.h>
#include <string.h>

#include <atomic>

#include "shim/budget/gate.h"
#include "shim/core/dl.h"
#include "shim/interpose/loader.h"

namespace oomguard::gpu {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

struct Entry {
  const char* name;
  const char* symbol;
  int version;
  uint64_t flags;
  void* hook;
  size_t offset;  // in Driver
};

// Not constinit: clang takes no cast in it, and writes a constant all the same.
const Entry kEntries[] = {
#define OOMGUARD_DRIVER(name, symbol, version, flags, account)                               \
  {#name, #symbol, version, flags, reinterpret_cast<void*>(oomguard_gpu_##symbol),           \
   offsetof(Driver, symbol)},
#include "shim/gpu/driver.def"
#undef OOMGUARD_DRIVER
};
constexpr size_t kCount = sizeof kEntries / sizeof kEntries[0];

enum Index : size_t {
#define OOMGUARD_DRIVER(name, symbol, version, flags, account) kIndexOf_##symbol,
#include "shim/gpu/driver.def"
#undef OOMGUARD_DRIVER
};

// By which addresses the driver hands a function out: what it exports, and what it answers to
// cuGetProcAddress. They may differ.
constinit std::atomic<void*> g_exported[kCount] = {};
constinit std::atomic<void*> g_answered[kCount] = {};
constinit std::atomic<uintptr_t> g_base{0};
constinit std::atomic<bool> g_bound{false};

bool is_driver(const char* path) noexcept {
  const char* slash = path != nullptr ? strrchr(path, '/') : nullptr;
  const char* file = slash != nullptr ? slash + 1 : path;
  return file != nullptr && strncmp(file, "libcuda.so", 10) == 0;
}

// A handle that keeps it loaded from now on.
void* pin(link_map* map) noexcept {
  Lmid_t space = LM_ID_BASE;
  if (dlinfo(map, RTLD_DI_LMID, &space) != 0) space = LM_ID_BASE;
  void* handle = dlmopen(space, map->l_name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
  return handle != nullptr ? handle : map;
}

// What the driver answers to its own lookup; null where it does not know that version.
void* answer_of(const Driver& table, const Entry& entry) noexcept {
  void* function = nullptr;
  int found = 0;
  CUresult status = kNotInitialized;
  if (g_exported[kIndexOf_cuGetProcAddress_v2].load(kRelaxed) != nullptr) {
    status = table.cuGetProcAddress_v2(entry.name, &function, entry.version, entry.flags, &found);
  } else if (g_exported[kIndexOf_cuGetProcAddress].load(kRelaxed) != nullptr) {
    status = table.cuGetProcAddress(entry.name, &function, entry.version, entry.flags);
  }
  return status == kSuccess ? function : nullptr;
}

template <typename Function>
void ask(void* handle, const char* symbol, Function** out) noexcept {
  *out = reinterpret_cast<Function*>(interpose::next_dlsym(handle, symbol));
}

void fill(void* handle) noexcept {
  Driver table = driver;
  const auto store = [&table](const Entry& entry, void* function) {
    memcpy(reinterpret_cast<char*>(&table) + entry.offset, &function, sizeof function);
  };
  for (size_t i = 0; i < kCount; ++i) {
    void* function = interpose::next_dlsym(handle, kEntries[i].symbol);
    if (function == nullptr) continue;
    g_exported[i].store(function, kRelaxed);
    store(kEntries[i], function);
  }
  for (size_t i = 0; i < kCount; ++i) {
    void* function = answer_of(table, kEntries[i]);
    if (function == nullptr) continue;
    g_answered[i].store(function, kRelaxed);
    if (g_exported[i].load(kRelaxed) == nullptr) store(kEntries[i], function);
  }
#define OOMGUARD_ASK(function) ask(handle, #function, &table.function)
  OOMGUARD_ASK(cuCtxGetDevice);
  OOMGUARD_ASK(cuCtxGetCurrent);
  OOMGUARD_ASK(cuDeviceGetUuid_v2);
  OOMGUARD_ASK(cuDeviceGetUuid);
  OOMGUARD_ASK(cuDeviceGetName);
  OOMGUARD_ASK(cuDeviceGetAttribute);
  OOMGUARD_ASK(cuDevicePrimaryCtxGetState);
  OOMGUARD_ASK(cuStreamIsCapturing);
  OOMGUARD_ASK(cuStreamIsCapturing_ptsz);
  OOMGUARD_ASK(cuDeviceGetMemPool);
  OOMGUARD_ASK(cuMemPoolGetAttribute);
  OOMGUARD_ASK(cuDeviceGetGraphMemAttribute);
#undef OOMGUARD_ASK
  driver = table;
  g_bound.store(true, std::memory_order_release);
  dlerror();  // names that an older driver lacks: nobody is to find ours there
}

// `address`: of one of its functions. False: not the driver that is bound.
bool bind(void* address) noexcept {
  Dl_info info;
  link_map* map = nullptr;
  if (dladdr1(address, &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) == 0 ||
      map == nullptr) {
    return false;
  }
  const auto base = reinterpret_cast<uintptr_t>(info.dli_fbase);
  uintptr_t bound = 0;
  if (!is_driver(info.dli_fname)) return false;
  if (!g_base.compare_exchange_strong(bound, base) && bound != base) {
    budget::gate.count_fault();
    return false;
  }
  if (!is_bound()) fill(pin(map));
  return true;
}

// For a program that was linked with the driver, or that found our name in its place.
[[gnu::cold, gnu::noinline]] void bind_loaded() noexcept {
  void* handle = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
  void* function = handle != nullptr ? interpose::next_dlsym(handle, "cuInit") : nullptr;
  if (function != nullptr) bind(function);
  if (handle != nullptr) dlclose(handle);  // pinned
  dlerror();
}

// The first entry of each function of the table.
template <auto Member>
struct First;
template <typename... Arguments, CUresult (*Driver::*Member)(Arguments...) noexcept>
struct First<Member> {
  static CUresult call(Arguments... arguments) noexcept {
    if (!is_bound()) bind_loaded();
    const auto function = driver.*Member;
    return function != call ? function(arguments...) : kNotInitialized;
  }
};

}  // namespace

constinit Driver driver = [] {
  Driver table{};
#define OOMGUARD_DRIVER(name, symbol, version, flags, account) \
  table.symbol = First<&Driver::symbol>::call;
#include "shim/gpu/driver.def"
#undef OOMGUARD_DRIVER
  return table;
}();

bool is_bound() noexcept { return g_bound.load(std::memory_order_acquire); }

bool bind_if_loaded() noexcept {
  if (!is_bound()) [[unlikely]] bind_loaded();
  return is_bound();
}

void* hook_of(void* address) noexcept {
  for (size_t i = 0; i < kCount; ++i) {
    if (g_exported[i].load(kRelaxed) == address || g_answered[i].load(kRelaxed) == address)
      return kEntries[i].hook;
  }
  return address;
}

void* hook_of(const char* name, void* address) noexcept {
  for (const Entry& entry : kEntries) {
    if (strcmp(entry.symbol + 2, name + 2) != 0) continue;
    return bind(address) ? hook_of(address) : address;
  }
  return address;
}

}  // namespace oomguard::gpu
