// Starts the real runtime library, which looks all of the driver's functions up and keeps them, and
// prints whose function it holds for each name that it asked for. What it does then on the fake
// driver is no matter: it needs tables of the driver that are nowhere documented.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <link.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

namespace {

const char* file_of(const Dl_info& info) {
  const char* slash = strrchr(info.dli_fname, '/');
  return slash != nullptr ? slash + 1 : info.dli_fname;
}

// Prints which words of the runtime's writable memory (its own library's, or this program's where
// it is linked statically) point to a function of the driver or of the guard: "holds PLACE SYMBOL
// FILE", where the guard's functions have no exported names.
int print_held(dl_phdr_info* object, size_t, void*) {
  const bool runtime = strstr(object->dlpi_name, "libcudart") != nullptr;
  if (!runtime && object->dlpi_name[0] != '\0') return 0;
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const auto& part = object->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || (part.p_flags & PF_W) == 0) continue;
    auto* word = reinterpret_cast<void* const*>(object->dlpi_addr + part.p_vaddr);
    for (size_t n = part.p_memsz / sizeof(void*); n > 0; --n, ++word) {
      Dl_info info;
      if (dladdr(*word, &info) == 0) continue;
      const bool driver =
          strstr(info.dli_fname, "libcuda.so") != nullptr && info.dli_saddr == *word;
      if (!driver && strstr(info.dli_fname, "liboomguard.so") == nullptr) continue;
      printf("holds %zx %s %s\n", reinterpret_cast<uintptr_t>(word) - object->dlpi_addr,
             driver ? info.dli_sname : "-", file_of(info));
    }
  }
  return 0;
}

}  // namespace

int main() {
  int version = 0;
  void* block = nullptr;
  printf("version %d", cudaDriverGetVersion(&version));
  printf(" %d\n", version);
  printf("malloc %d\n", cudaMalloc(&block, 1 << 20));
  dl_iterate_phdr(print_held, nullptr);
}
