#include "shim/budget/resident.h"

#include <link.h>
#include <sys/mman.h>

#include "collector/probe/kernel_text.h"
#include "collector/probe/syscall.h"

// The linker's name of the first byte of what it makes (GNU ld, lld, mold). The program headers
// follow it; e_phoff is another place in the file (shim/install/headers_last.cc).
extern "C" [[gnu::visibility("hidden")]] const ElfW(Ehdr) __ehdr_start;

namespace oomguard::budget::resident {
namespace {

constinit int64_t g_kept = 0;

bool lock_pages(uintptr_t address, size_t size, int flags) noexcept {
  const uintptr_t page = static_cast<uintptr_t>(probe::page_size());
  const uintptr_t from = address & ~(page - 1);
  const uintptr_t length = (address + size - from + page - 1) & ~(page - 1);
  if (sys::call(SYS_mlock2, from, length, flags) != 0) return false;
  g_kept += static_cast<int64_t>(length);
  return true;
}

}  // namespace

void keep_code() noexcept {
  g_kept = 0;
  const auto start = reinterpret_cast<uintptr_t>(&__ehdr_start);
  const auto* segments = reinterpret_cast<const ElfW(Phdr)*>(start + sizeof __ehdr_start);
  bool first = true;
  uintptr_t bias = 0;
  for (int i = 0; i < __ehdr_start.e_phnum; ++i) {
    const ElfW(Phdr)& segment = segments[i];
    if (segment.p_type != PT_LOAD) continue;
    if (first) bias = start - segment.p_vaddr;
    first = false;
    if ((segment.p_flags & PF_W) == 0) {
      lock_pages(bias + segment.p_vaddr, segment.p_memsz, MLOCK_ONFAULT);
    }
  }
}

bool keep(const void* address, size_t size) noexcept {
  return lock_pages(reinterpret_cast<uintptr_t>(address), size, 0);
}

void lost(int64_t bytes) noexcept { g_kept -= bytes; }

int64_t kept_bytes() noexcept { return g_kept; }

}  // namespace oomguard::budget::resident
