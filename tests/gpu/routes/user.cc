// A library that is linked with the driver, as an extension module may be, and opened with
// RTLD_DEEPBIND: its own references go to the driver and to libc first.
#include <dlfcn.h>

#include <cstring>

#include "tests/gpu/routes/api.h"

extern "C" {

__attribute__((visibility("default"))) void* linked_address(void*, const char* symbol) {
  static const struct {
    const char* symbol;
    void* address;
  } kAll[] = {
#define FAKE_CUDA(base, version, name) {#name, reinterpret_cast<void*>(&name)},
#define FAKE_CUDA_PTSZ(base, version, name) {#name, reinterpret_cast<void*>(&name)},
#include "tests/gpu/fake/functions.def"
#undef FAKE_CUDA
#undef FAKE_CUDA_PTSZ
  };
  for (const auto& one : kAll) {
    if (strcmp(one.symbol, symbol) == 0) return one.address;
  }
  return nullptr;
}

__attribute__((visibility("default"))) void* looked_up_address(void* driver, const char* symbol) {
  return dlsym(driver, symbol);
}

}  // extern "C"
