// The driver that this process loaded: its functions, and the hooks that stand for them.
//
// Bound to the first libcuda.so that somebody looks a hooked function up in, or whose name a
// program was linked with; never loaded by us. From then on it stays loaded (a program that closes
// it would leave our pointers behind). A second one, in another namespace, is left alone: its functions are
// handed out as they are, and counted as a fault.
//
// Thread-safety: all of it, without locks: whoever comes first fills the table, and whoever comes
// at the same time fills in the same. Not async-signal-safe (dlsym).
#pragma once

#include "shim/gpu/hooks.h"

namespace oomguard::gpu {

struct Driver {
#define OOMGUARD_DRIVER(name, symbol, version, flags, account) \
  decltype(oomguard_gpu_##symbol)* symbol;
#include "shim/gpu/driver.def"
#undef OOMGUARD_DRIVER
  // What is asked and not hooked. Null where this driver has none.
  CUresult (*cuCtxGetDevice)(CUdevice*);
  CUresult (*cuCtxGetCurrent)(CUcontext*);
  CUresult (*cuDeviceGetUuid_v2)(CUuuid*, CUdevice);
  CUresult (*cuDeviceGetUuid)(CUuuid*, CUdevice);
  CUresult (*cuDeviceGetName)(char*, int, CUdevice);
  CUresult (*cuDeviceGetAttribute)(int*, int, CUdevice);
  CUresult (*cuDevicePrimaryCtxGetState)(CUdevice, unsigned*, int*);
  CUresult (*cuStreamIsCapturing)(CUstream, int*);
  CUresult (*cuStreamIsCapturing_ptsz)(CUstream, int*);
  CUresult (*cuDeviceGetMemPool)(CUmemoryPool*, CUdevice);
  CUresult (*cuMemPoolGetAttribute)(CUmemoryPool, int, void*);
  CUresult (*cuDeviceGetGraphMemAttribute)(CUdevice, int, void*);
};

// Calls through the hooked part never go through null: until a driver is bound, each looks for one
// that is loaded, and answers kNotInitialized where there is none.
extern Driver driver;

// What a lookup of `name` is answered with, given the driver's own answer: the hook where there is
// one for that function, else `address`.
[[nodiscard]] void* hook_of(const char* name, void* address) noexcept;
// The same where the driver itself looked it up.
[[nodiscard]] void* hook_of(void* address) noexcept;

// The functions of a driver are known.
[[nodiscard]] bool is_bound() noexcept;
// The same, once a driver that is loaded was looked for.
[[nodiscard]] bool bind_if_loaded() noexcept;

}  // namespace oomguard::gpu
