// Hooks of the heap family. Each spends its thread's credit and tail-calls the real function; the
// cold halves below decide through an Admission and record large blocks.
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>

#include "shim/budget/block_filter.h"
#include "shim/budget/gate.h"
#include "shim/budget/ledger.h"
#include "shim/interpose/bootstrap_arena.h"
#include "shim/interpose/export.h"
#include "shim/interpose/libc_block.h"
#include "shim/interpose/real.h"
#include "shim/spill/lender.h"
#include "shim/trace/sampler.h"

namespace oomguard::interpose {
namespace {

using budget::Admission;
using budget::block_filter;
using budget::ledger;
using budget::spend;
using record::RequestKind;

#define OOMGUARD_COLD [[gnu::cold, gnu::noinline]]

void* refused() noexcept {
  errno = ENOMEM;
  return nullptr;
}

// A larger one stays where its allocator puts it, and `free` looks up what lies above it. Moved, it
// changes how the heap grows and shrinks: a loop over arrays of 800 KB took 1.8 times as long,
// because libc gave the heap's top back to the kernel each time.
constexpr size_t kMostToMove = 4 * 1024;

// Where `free` recognises it (block_filter.h). nullptr where the call may go its usual way.
void* sampled_block(size_t size) noexcept {
  return real.memalign(budget::BlockFilter::kMark, size);
}

OOMGUARD_COLD void* cold_malloc(size_t size, const void* caller) noexcept {
  Admission admission(RequestKind::kMalloc, size, caller);
  if (!admission.granted()) return refused();
  void* block = admission.is_sampled(size) && size <= kMostToMove ? sampled_block(size) : nullptr;
  if (block == nullptr) block = real.malloc(size);
  admission.block(block, size, true);
  return block;
}

OOMGUARD_COLD void* cold_calloc(size_t count, size_t size, size_t total,
                                const void* caller) noexcept {
  Admission admission(RequestKind::kCalloc, total, caller);
  if (!admission.granted()) return refused();
  void* block =
      admission.is_sampled(total) && total <= kMostToMove ? sampled_block(total) : nullptr;
  block = block != nullptr ? memset(block, 0, total) : real.calloc(count, size);
  admission.block(block, total, true);
  return block;
}

OOMGUARD_COLD int cold_posix_memalign(void** out, size_t alignment, size_t size,
                                      const void* caller) noexcept {
  Admission admission(RequestKind::kAligned, size, caller);
  if (!admission.granted()) return ENOMEM;  // errno is left as posix_memalign leaves it
  const int status = real.posix_memalign(out, alignment, size);
  if (status == 0) admission.block(*out, size, true);
  return status;
}

template <typename Call>
OOMGUARD_COLD void* cold_aligned(size_t size, const void* caller, Call call) noexcept {
  Admission admission(RequestKind::kAligned, size, caller);
  if (!admission.granted()) return refused();
  void* block = call();
  admission.block(block, size, true);
  return block;
}

OOMGUARD_COLD void cold_free(void* pointer) noexcept {
  if (in_bootstrap_arena(pointer)) return;
  if (!ledger.remove(reinterpret_cast<uintptr_t>(pointer), nullptr)) trace::forget(pointer);
  if (spill::has_lent()) spill::forget(reinterpret_cast<uintptr_t>(pointer));
  real.free(pointer);
}

// What a realloc will need beyond what the old block holds already: its growth where the mapping
// grows, all of it where it may be copied (old and new exist side by side then).
size_t realloc_need(void* old, size_t size) noexcept {
  const size_t usable = real.malloc_usable_size(old);
  if (size <= usable) return 0;
  OwnMapping own;
  const bool grows_in_place = usable >= 128 * 1024 && find_own_mapping(old, &own) &&
                              !spill::is_lent(reinterpret_cast<uintptr_t>(old));
  return grows_in_place ? size - usable : size;
}

void* realloc_from_arena(void* old, size_t size) noexcept {
  void* block = real.malloc(size);
  const size_t before = bootstrap_size(old);
  if (block != nullptr) memcpy(block, old, before < size ? before : size);
  return block;
}

// A mapping of which parts lie in a file cannot be moved in one piece. Where it shrinks it stays,
// but not when most of it could be given back.
void* realloc_lent(void* old, size_t size) noexcept {
  const size_t usable = real.malloc_usable_size(old);
  if (size <= usable && size >= usable / 2) return old;
  void* block = real.malloc(size);
  if (block == nullptr) return nullptr;
  memcpy(block, old, usable < size ? usable : size);
  spill::forget(reinterpret_cast<uintptr_t>(old));
  real.free(old);
  return block;
}

void* realloc_any(void* old, size_t size) noexcept {
  const bool lent = spill::is_lent(reinterpret_cast<uintptr_t>(old));
  if (lent && size != 0) return realloc_lent(old, size);
  if (lent) spill::forget(reinterpret_cast<uintptr_t>(old));  // it is freed
  if (!lent && spill::has_lent()) spill::forget_returned(reinterpret_cast<uintptr_t>(old));
  return real.realloc(old, size);
}

void* realloc_sampled(void* old, size_t size) noexcept {
  if (size == 0 || size > kMostToMove || spill::has_lent()) return nullptr;
  const size_t usable = real.malloc_usable_size(old);
  if (usable == 0) return nullptr;  // an allocator that does not say: only its realloc can copy
  void* block = sampled_block(size);
  if (block == nullptr) return nullptr;
  memcpy(block, old, std::min(usable, size));
  real.free(old);
  return block;
}

OOMGUARD_COLD void* cold_realloc(void* old, size_t size, const void* caller) noexcept {
  if (old == nullptr) return cold_malloc(size, caller);
  if (in_bootstrap_arena(old)) return realloc_from_arena(old, size);
  Admission admission(RequestKind::kRealloc, realloc_need(old, size), caller, size);
  if (!admission.granted()) return refused();
  budget::Block large;
  trace::Sample small;
  const bool is_large = ledger.remove(reinterpret_cast<uintptr_t>(old), &large);
  const bool is_small = !is_large && trace::forget(old, &small);
  void* block = admission.is_sampled(size) ? realloc_sampled(old, size) : nullptr;
  if (block == nullptr) block = realloc_any(old, size);
  if (block != nullptr) {
    admission.block(block, size, true);
  } else if (size != 0) {  // it failed: the old block lives on
    if (is_large) ledger.add(large);
    if (is_small) trace::remember_again(old, small);
  }
  return block;
}

}  // namespace
}  // namespace oomguard::interpose

using namespace oomguard::interpose;  // NOLINT: the exports below are this file's purpose
using oomguard::real;

OOMGUARD_EXPORT void* malloc(size_t size) noexcept {
  if (spend(size)) [[likely]] return real.malloc(size);
  return cold_malloc(size, __builtin_return_address(0));
}

OOMGUARD_EXPORT void* calloc(size_t count, size_t size) noexcept {
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) return real.calloc(count, size);
  if (spend(total)) [[likely]] return real.calloc(count, size);
  return cold_calloc(count, size, total, __builtin_return_address(0));
}

OOMGUARD_EXPORT void* realloc(void* old, size_t size) noexcept {
  if (!block_filter.may_contain(old) && spend(size)) [[likely]] return real.realloc(old, size);
  return cold_realloc(old, size, __builtin_return_address(0));
}

OOMGUARD_EXPORT void* reallocarray(void* old, size_t count, size_t size) noexcept {
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) return refused();
  if (!block_filter.may_contain(old) && spend(total)) [[likely]] return real.realloc(old, total);
  return cold_realloc(old, total, __builtin_return_address(0));
}

OOMGUARD_EXPORT void free(void* pointer) noexcept {
  if (!block_filter.may_contain(pointer)) [[likely]] return real.free(pointer);
  cold_free(pointer);
}

OOMGUARD_EXPORT void cfree(void* pointer) noexcept { free(pointer); }

// A wrong alignment is the real function's to answer (EINVAL comes before ENOMEM).
OOMGUARD_EXPORT int posix_memalign(void** out, size_t alignment, size_t size) noexcept {
  ensure_resolved();
  const bool valid = alignment % sizeof(void*) == 0 && alignment != 0 &&
                     (alignment & (alignment - 1)) == 0;
  if (!valid || spend(size)) return real.posix_memalign(out, alignment, size);
  return cold_posix_memalign(out, alignment, size, __builtin_return_address(0));
}

OOMGUARD_EXPORT void* aligned_alloc(size_t alignment, size_t size) noexcept {
  ensure_resolved();
  if ((alignment & (alignment - 1)) != 0 || spend(size)) return real.aligned_alloc(alignment, size);
  return cold_aligned(size, __builtin_return_address(0),
                      [=] { return real.aligned_alloc(alignment, size); });
}

OOMGUARD_EXPORT void* memalign(size_t alignment, size_t size) noexcept {
  ensure_resolved();
  if (spend(size)) return real.memalign(alignment, size);
  return cold_aligned(size, __builtin_return_address(0),
                      [=] { return real.memalign(alignment, size); });
}

OOMGUARD_EXPORT void* valloc(size_t size) noexcept {
  ensure_resolved();
  if (spend(size)) return real.valloc(size);
  return cold_aligned(size, __builtin_return_address(0), [=] { return real.valloc(size); });
}

OOMGUARD_EXPORT void* pvalloc(size_t size) noexcept {
  ensure_resolved();
  if (spend(size)) return real.pvalloc(size);
  return cold_aligned(size, __builtin_return_address(0), [=] { return real.pvalloc(size); });
}

OOMGUARD_EXPORT size_t malloc_usable_size(void* pointer) noexcept {
  if (block_filter.may_contain(pointer) && in_bootstrap_arena(pointer)) {
    return bootstrap_size(pointer);
  }
  return real.malloc_usable_size(pointer);
}
