#include "shim/budget/relief.h"

#include <dlfcn.h>
#include <malloc.h>

#include "shim/interpose/real.h"

namespace oomguard::budget::relief {
namespace {

using MallocTrim = int (*)(size_t);
using Mallinfo = struct mallinfo2 (*)();
constinit MallocTrim g_malloc_trim = nullptr;
constinit Mallinfo g_mallinfo = nullptr;

}  // namespace

void init() noexcept {
  if (!interpose::allocator_is_libc()) return;
  g_malloc_trim = reinterpret_cast<MallocTrim>(dlsym(RTLD_NEXT, "malloc_trim"));
  g_mallinfo = reinterpret_cast<Mallinfo>(dlsym(RTLD_NEXT, "mallinfo2"));  // glibc 2.33
}

bool release(int64_t shortfall) noexcept {
  if (g_malloc_trim == nullptr) return false;
  if (g_mallinfo != nullptr && static_cast<int64_t>(g_mallinfo().fordblks) < shortfall) return false;
  return g_malloc_trim(0) == 1;
}

}  // namespace oomguard::budget::relief
