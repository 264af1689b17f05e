// Hooks of the map family: address space that becomes memory once it is touched.
//
// Charged: writable private anonymous mappings, shared anonymous ones, what of a file in memory
// nobody has touched yet, reservations that mprotect makes writable, growth by mremap. Not charged:
// PROT_NONE, MAP_NORESERVE unless it is filled at once, other files, huge-page pools.
// A break that is moved up is charged too: libc's own allocator does not come through here, so it
// is a program's own allocator, and the call may fail with ENOMEM.
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shim/budget/block_filter.h"
#include "shim/budget/gate.h"
#include "shim/budget/need.h"
#include "shim/budget/ledger.h"
#include "shim/budget/memory_file.h"
#include "shim/interpose/export.h"
#include "shim/interpose/filling.h"
#include "shim/interpose/real.h"
#include "shim/spill/lender.h"
#include "shim/trace/sampler.h"

namespace oomguard::interpose {
namespace {

using budget::Admission;
using budget::Bytes;
using budget::ledger;
using budget::spend;
using record::RequestKind;

#define OOMGUARD_COLD [[gnu::cold, gnu::noinline]]
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4  // since Linux 5.7; glibc 2.32 knows it
#endif

// Filled before mmap returns. Private pages of a file are copies then.
bool is_filled(int flags) noexcept {
  return (flags & (MAP_POPULATE | MAP_LOCKED)) != 0 ||
         maps_are_filled.load(std::memory_order_relaxed);
}

bool is_charged(int protection, int flags) noexcept {
  if ((protection & PROT_WRITE) == 0 || (flags & MAP_HUGETLB) != 0) return false;
  if ((flags & MAP_ANONYMOUS) == 0) return (flags & MAP_TYPE) == MAP_PRIVATE && is_filled(flags);
  return (flags & (MAP_NORESERVE | MAP_STACK)) == 0 || is_filled(flags);
}

// A sampled mapping of up to 1 MiB, an arena of the interpreter for one. Those go in one piece.
void forget_sample(const void* address) noexcept {
  if (budget::block_filter.may_contain(address)) trace::forget(address);
}

// Smaller pieces of shared memory are judged when their file gets its size.
bool may_be_memory_file(size_t size, int protection, int flags) noexcept {
  return size > budget::kRecordedAbove && (protection & PROT_WRITE) != 0 &&
         (flags & MAP_ANONYMOUS) == 0 && (flags & MAP_TYPE) != MAP_PRIVATE;
}

// Files are not charged. Looked up only where a large request might be refused: it takes a while.
bool is_file(const void* address, size_t size) noexcept {
  const budget::Gate& gate = budget::gate;
  return size > budget::kRecordedAbove && gate.mode() == budget::Gate::Mode::kOn &&
         !gate.has_plenty_for(static_cast<int64_t>(size)) &&
         gate.residency.in_file(reinterpret_cast<uintptr_t>(address));
}

OOMGUARD_COLD void* cold_map(void* hint, size_t size, int protection, int flags, int fd,
                             off_t offset, const void* caller) noexcept {
  const bool replaces = (flags & MAP_FIXED) != 0;
  Admission admission(RequestKind::kMmap, replaces ? budget::untouched(hint, size) : size, caller, size);
  if (!admission.granted()) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  void* address = real.mmap(hint, size, protection, flags, fd, offset);
  if (address == MAP_FAILED) return address;
  if (replaces) ledger.unmap(reinterpret_cast<uintptr_t>(address), size);
  admission.block(address, size, false);
  return address;
}

// What others have filled already is not asked for again.
OOMGUARD_COLD void* cold_map_file(void* hint, size_t size, int protection, int flags, int fd,
                                  off_t offset, const void* caller) noexcept {
  budget::MemoryFile file;
  const bool is_memory = budget::gate.mode() == budget::Gate::Mode::kOn && file.look_at(fd);
  const Bytes need = is_memory ? file.untouched_in(offset, static_cast<Bytes>(size)) : 0;
  if (need <= static_cast<Bytes>(budget::kRecordedAbove)) {
    return real.mmap(hint, size, protection, flags, fd, offset);
  }
  Admission admission(RequestKind::kMmap, static_cast<size_t>(need), caller);
  if (!admission.granted()) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  void* address = real.mmap(hint, size, protection, flags, fd, offset);
  if (address != MAP_FAILED) admission.block(address, size, false);
  return address;
}

[[gnu::always_inline]] inline void* map(void* hint, size_t size, int protection, int flags, int fd,
                                        off_t offset, const void* caller) noexcept {
  if ((flags & MAP_FIXED) != 0 && spill::has_lent()) {
    spill::forget_range(reinterpret_cast<uintptr_t>(hint), size);
  }
  if (!is_charged(protection, flags)) {
    if ((flags & MAP_FIXED) != 0 && size > budget::kRecordedAbove / 2) {  // what was there is gone
      ledger.unmap(reinterpret_cast<uintptr_t>(hint), size);
    }
    if (may_be_memory_file(size, protection, flags)) {
      return cold_map_file(hint, size, protection, flags, fd, offset, caller);
    }
    return real.mmap(hint, size, protection, flags, fd, offset);
  }
  if (size <= budget::kRecordedAbove && (flags & MAP_FIXED) == 0 && spend(size)) {
    return real.mmap(hint, size, protection, flags, fd, offset);
  }
  return cold_map(hint, size, protection, flags, fd, offset, caller);
}

// A second view of shared memory (old size 0) adds nothing. A range that stays mapped after its
// pages moved away can be filled again.
size_t growth_of(size_t old_size, size_t size, int flags) noexcept {
  if (old_size == 0) return 0;
  if ((flags & MREMAP_DONTUNMAP) != 0) return size;
  return size > old_size ? size - old_size : 0;
}

OOMGUARD_COLD void* cold_remap(void* old, size_t old_size, size_t size, int flags, void* target,
                               const void* caller) noexcept {
  const size_t growth = growth_of(old_size, size, flags);
  if (is_file(old, growth)) return real.mremap(old, old_size, size, flags, target);
  Admission admission(RequestKind::kMremap, growth, caller, size);
  if (!admission.granted()) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  void* address = real.mremap(old, old_size, size, flags, target);
  if (address == MAP_FAILED) return address;
  if ((flags & MREMAP_FIXED) != 0) {
    ledger.unmap(reinterpret_cast<uintptr_t>(address), size);
    if (spill::has_lent()) spill::forget_range(reinterpret_cast<uintptr_t>(address), size);
  }
  const bool stays = old_size == 0 || (flags & MREMAP_DONTUNMAP) != 0;
  budget::Block before;
  const bool known = !stays && ledger.remove(reinterpret_cast<uintptr_t>(old), &before);
  if (!stays && !known) forget_sample(old);
  if (known || growth > 0) admission.block(address, size, false);
  return address;
}

OOMGUARD_COLD int cold_protect(void* address, size_t size, int protection,
                               const void* caller) noexcept {
  if (is_file(address, size)) return real.mprotect(address, size, protection);
  Admission admission(RequestKind::kMprotect, budget::untouched(address, size), caller);
  if (!admission.granted()) {
    errno = ENOMEM;
    return -1;
  }
  return real.mprotect(address, size, protection);
}

// The break may go up by so much; else errno says why not.
bool moves_up(size_t growth, const void* caller) noexcept {
  if (spend(growth)) return true;
  const Admission admission(RequestKind::kBrk, growth, caller);
  if (!admission.granted()) errno = ENOMEM;
  return admission.granted();
}

}  // namespace
}  // namespace oomguard::interpose

using namespace oomguard::interpose;  // NOLINT: the exports below are this file's purpose
using oomguard::real;

OOMGUARD_EXPORT void* mmap(void* hint, size_t size, int protection, int flags, int fd,
                           off_t offset) noexcept {
  return map(hint, size, protection, flags, fd, offset, __builtin_return_address(0));
}

OOMGUARD_EXPORT void* mmap64(void* hint, size_t size, int protection, int flags, int fd,
                             off64_t offset) noexcept {
  return map(hint, size, protection, flags, fd, offset, __builtin_return_address(0));
}

OOMGUARD_EXPORT int munmap(void* address, size_t size) noexcept {
  // Forgotten first: once unmapped, another thread may get the same address.
  forget_sample(address);
  if (size > oomguard::budget::kRecordedAbove / 2) {
    oomguard::budget::ledger.unmap(reinterpret_cast<uintptr_t>(address), size);
  }
  if (oomguard::spill::has_lent()) {
    oomguard::spill::forget_range(reinterpret_cast<uintptr_t>(address), size);
  }
  return real.munmap(address, size);
}

OOMGUARD_EXPORT void* mremap(void* old, size_t old_size, size_t size, int flags, ...) noexcept {
  void* target = nullptr;
  if ((flags & MREMAP_FIXED) != 0) {
    va_list list;
    va_start(list, flags);
    target = va_arg(list, void*);
    va_end(list);
  }
  return cold_remap(old, old_size, size, flags, target, __builtin_return_address(0));
}

OOMGUARD_EXPORT int mprotect(void* address, size_t size, int protection) noexcept {
  if ((protection & PROT_WRITE) == 0 || spend(size))
    return real.mprotect(address, size, protection);
  return cold_protect(address, size, protection, __builtin_return_address(0));
}

OOMGUARD_EXPORT int brk(void* address) noexcept {
  ensure_resolved();
  const auto now = reinterpret_cast<uintptr_t>(real.sbrk(0));
  const auto wanted = reinterpret_cast<uintptr_t>(address);
  if (wanted > now && !moves_up(wanted - now, __builtin_return_address(0))) return -1;
  return real.brk(address);
}

OOMGUARD_EXPORT void* sbrk(intptr_t increment) noexcept {
  if (increment > 0 && !moves_up(static_cast<size_t>(increment), __builtin_return_address(0))) {
    return reinterpret_cast<void*>(-1);
  }
  return real.sbrk(increment);
}
