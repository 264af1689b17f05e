// The functions behind the hooks: the next definition in the program's search order (libc's, or
// that of an allocator preloaded behind this library). Resolved once, before anything else works.
//
// Thread-safety: `resolve` runs in the first hook that is called, or in the constructor; the table
// is constant afterwards. Callable from a hook: yes. Calls through the table never go through null:
// the hot heap entries start as functions that resolve first, those of the map family as system
// calls, and `resolve` answers every other use.
#pragma once

#include <spawn.h>
#include <stdio.h>
#include <sys/sysinfo.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

namespace oomguard {

struct Real {
#define OOMGUARD_HOOK(family, name, result, parameters) result(*name) parameters;
#include "shim/interpose/hooks.def"
#undef OOMGUARD_HOOK
};

extern Real real;

namespace interpose {
// Fills `real`. While it runs, allocations of dlsym itself come from the bootstrap arena.
void resolve() noexcept;
bool resolved() noexcept;
// Every other hook may be the first that runs.
inline void ensure_resolved() noexcept {
  if (!resolved()) [[unlikely]] resolve();
}
// The allocator behind the hooks is libc's own (its chunk headers and malloc_trim are known).
bool allocator_is_libc() noexcept;
}  // namespace interpose

}  // namespace oomguard
