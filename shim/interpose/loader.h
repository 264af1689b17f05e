// The dynamic linker's own dlsym, dlvsym and dlopen, which this library exports too: found in the
// symbol tables of what was loaded behind it, because there is nobody left to ask.
//
// Callable at any time, also before the constructor and in a signal handler; allocates nothing, calls
// nobody, takes no lock (what is behind a preloaded library in the dynamic linker's list stays there:
// it is needed by the program). Thread-safe.
#pragma once

namespace oomguard::interpose {

void* next_dlsym(void* handle, const char* name) noexcept;

}  // namespace oomguard::interpose

extern "C" {
// Null until resolved; what the exported names (shim/interpose/cuda.cc) jump to.
extern void* (*oomguard_next_dlsym)(void*, const char*);
extern void* (*oomguard_next_dlvsym)(void*, const char*, const char*);
extern void* (*oomguard_next_dlopen)(const char*, int);
void oomguard_resolve_loader() noexcept;
}
