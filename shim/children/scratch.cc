#include "shim/children/scratch.h"

#include <sys/mman.h>

#include <atomic>

#include "collector/probe/syscall.h"

namespace oomguard::children {
namespace {

struct Mapping {
  void* data = nullptr;
  size_t bytes = 0;
};

// What a vfork child of this thread left behind.
[[gnu::tls_model("initial-exec")]] constinit thread_local Mapping t_left_behind;
constinit std::atomic<long> g_process{0};  // relaxed: one writer at start and after fork

Mapping map(size_t bytes) {
  const long address = sys::call(SYS_mmap, 0, static_cast<long>(bytes), PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address < 0 && address > -4096) return {};
  return {reinterpret_cast<void*>(address), bytes};
}

void unmap(Mapping mapping) {
  if (mapping.data == nullptr) return;
  sys::call(SYS_munmap, sys::as_arg(mapping.data), static_cast<long>(mapping.bytes));
}

}  // namespace

Scratch::Scratch(size_t bytes, bool shares_parents_memory) noexcept
    : shares_parents_memory_(shares_parents_memory) {
  Mapping mapping = t_left_behind;
  t_left_behind = {};
  if (mapping.bytes < bytes) {
    unmap(mapping);
    mapping = map(bytes);
  }
  data_ = mapping.data;
  bytes_ = mapping.bytes;
  if (shares_parents_memory_) t_left_behind = mapping;
}

Scratch::~Scratch() {
  if (shares_parents_memory_) t_left_behind = {};
  unmap({data_, bytes_});
}

void remember_process() noexcept {
  g_process.store(sys::call(SYS_getpid), std::memory_order_relaxed);
}

bool in_vfork_child() noexcept {
  return sys::call(SYS_getpid) != g_process.load(std::memory_order_relaxed);
}

}  // namespace oomguard::children
