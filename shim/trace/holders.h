// Which lines of the program hold the memory: the sites' live bytes (sites.h), summed by the
// innermost line of the person's own code, or where there is none by the innermost line of Python,
// or by module.
//
// Walks every site and its stack, about 0.1 ms for each thousand: for refusals, not for requests.
// Callable from a hook: yes. Thread-safety: one at a time; others wait for a few milliseconds at
// most.
#pragma once

#include <cstddef>
#include <cstdint>

#include "collector/probe/residency.h"
#include "collector/record/flight.h"

namespace oomguard::trace {

struct Holders {
  uint32_t count = 0;                // lines in the array that was given
  int64_t attributed_bytes = -1;     // of all stacks; -1: somebody else was at it for long
};

// The largest holders, largest first, by what is really there. For that, what of each large block
// is granted and not there yet is noted at its site; `pages`: looks at the pages of some that were
// not looked at lately; null: by the newest looks.
Holders largest_holders(int64_t now_ns, const probe::Residency* pages, record::HolderRecord* out,
                        uint32_t capacity) noexcept;

// Notes that at the sites between refusals, for who reads the session meanwhile: looks at the pages
// of a few dozen blocks. Callable from the raw thread.
void note_untouched(int64_t now_ns, const probe::Residency& pages) noexcept;

// Once at start. Not needed in a forked child.
void prepare_holders() noexcept;
// In fork's child: a thread that was at it is not there.
void forget_holders_users() noexcept;

}  // namespace oomguard::trace
