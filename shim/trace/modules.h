// Which module of the flight file an address of code lies in, written there when it is first met:
// path, range, build-id. A module that is unloaded and loaded again is the same one; another one at
// the same place is a new one.
//
// Nothing is removed, so what a dead process had loaded can be said of its stacks. No lock, of the
// dynamic linker or of ours: two threads that meet a module at once may write it twice.
// Thread-safety: locate() all; record_into() while nobody else is here. Callable from a hook:
// locate(), with at most 5 KiB of stack (the first time; later 0.3 KiB and about 30 ns).
#pragma once

#include <atomic>
#include <cstdint>

#include "collector/record/stacks.h"

namespace oomguard::trace::modules {

// Where modules are written. `string_id` interns a text in the same file; 0: no room. Callable from
// a hook.
struct Target {
  record::ModuleRecord* records;
  uint32_t capacity;
  std::atomic<uint32_t>* used;
  std::atomic<uint32_t>* dropped;
  uint32_t (*string_id)(const char* text) noexcept;
};

// At start and in fork's child (whose file has none of its parent's modules).
void record_into(const Target& target) noexcept;

struct Place {
  uint32_t module;  // index of its record + 1; 0: in no module, or no room for it
  uint64_t offset;  // minus the module's load bias; the address itself without a module
};

// `return_address`: as read_native_stack() gives it; the instruction before it is what is looked
// up.
Place locate(uintptr_t return_address) noexcept;

}  // namespace oomguard::trace::modules
