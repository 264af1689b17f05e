// Refusals of the GPU gate: records, and what becomes of them. Frameworks give back what they cache
// and ask again, so the same request of one thread is one refusal however often it is made, and one
// that is granted in the end has recovered.
//
// Thread-safety: all. Callable from the GPU hooks.
#pragma once

#include "shim/gpu/request.h"

namespace oomguard::gpu {

// True: --on-limit warn, so the request goes on. `used`: of what `limit` limits.
[[nodiscard]] bool refuse(const Request& request, Bytes limit, Bytes used) noexcept;
// The driver itself had no room: others hold it.
void driver_refused(const Request& request, Bytes total) noexcept;
// A request was granted.
void granted(const Request& request) noexcept;
// In a forked child.
void forget_refusals() noexcept;

}  // namespace oomguard::gpu
