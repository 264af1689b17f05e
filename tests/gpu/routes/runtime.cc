// Starts the real runtime library, which looks all of the driver's functions up and keeps them, and
// prints whose function it holds for each name that it asked for. What it does then on the fake
// driver is no matter: it needs tables of the driver that are nowhere documented.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <link.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "tests/gpu/fake/fake_cuda.h"

namespace {

const char* file_of(const Dl_info& info) {
  const char* slash = strrchr(info.dli_fname, '/');
  return slash != nullptr ? slash + 1 : info.dli_fname;
}

// Exported functions of the driver or of the guard that writable memory of the runtime (its own
// library, or this program where it is linked statically) points to, with the file of each.
int collect(dl_phdr_info* object, size_t, void* out) {
  const bool runtime = strstr(object->dlpi_name, "libcudart") != nullptr;
  if (!runtime && object->dlpi_name[0] != '\0') return 0;
  auto& found = *static_cast<std::map<std::string, std::string>*>(out);
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const auto& part = object->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || (part.p_flags & PF_W) == 0) continue;
    auto* word = reinterpret_cast<void* const*>(object->dlpi_addr + part.p_vaddr);
    for (size_t n = part.p_memsz / sizeof(void*); n > 0; --n, ++word) {
      Dl_info info;
      if (dladdr(*word, &info) == 0 || info.dli_saddr != *word) continue;
      const std::string name = info.dli_sname != nullptr ? info.dli_sname : "";
      if (name.rfind("cu", 0) != 0 || name.rfind("cuda", 0) == 0) continue;
      found[name] += std::string(" ") + file_of(info);
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
  std::map<std::string, std::string> found;
  dl_iterate_phdr(collect, &found);
  for (const auto& [symbol, files] : found) printf("holds %s%s\n", symbol.c_str(), files.c_str());
}
