// Which lines of the program hold the memory: the sites' live bytes (sites.h), summed by the innermost line
// of the person's own code, or where there is none by the innermost line of Python, or by module.
//
// Walks every site and its stack, about 0.1 ms for each thousand: for refusals, not for requests.
// Callable from a hook: yes. Thread-safety: one at a time, others get nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "collector/probe/residency.h"
#include "collector/record/flight.h"

namespace oomguard::trace {

// Notes for each site what of its large blocks is granted and not there yet. `pages`: looks at the pages of
// some that were not looked at lately; null: by the newest looks.
void update_untouched(int64_t now_ns, const probe::Residency* pages) noexcept;

// The largest holders, largest first, by what is really there; returns how many.
uint32_t largest_holders(record::HolderRecord* out, uint32_t capacity) noexcept;

}  // namespace oomguard::trace
