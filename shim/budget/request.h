// What is asked for, and what kind of call asks. Plain values. Callable from a hook: yes.
#pragma once

#include <cstdint>

#include "collector/record/flight.h"
#include "shim/budget/lines.h"

namespace oomguard::budget {

struct Request {
  record::RequestKind kind;
  Bytes size;        // what will be needed once it is filled
  uintptr_t caller;  // return address
  bool arena = false;  // an arena of CPython's small-object allocator (see Gate::is_arena)
};

// Whoever makes these calls looks at their error, in a way that NULL is not looked at.
constexpr bool is_answered_by_error(record::RequestKind kind) {
  return kind == record::RequestKind::kFileWrite || kind == record::RequestKind::kFileSize ||
         kind == record::RequestKind::kPopulate || kind == record::RequestKind::kFork ||
         kind == record::RequestKind::kPinned;
}

// write, ftruncate and fork are called from signal handlers too, which may have interrupted a
// thread that holds a lock of libc or of the interpreter.
constexpr bool is_called_by_handlers(record::RequestKind kind) {
  return kind == record::RequestKind::kFileWrite || kind == record::RequestKind::kFileSize ||
         kind == record::RequestKind::kFork;
}

constexpr bool is_of_heap(record::RequestKind kind) {
  return kind == record::RequestKind::kMalloc || kind == record::RequestKind::kCalloc ||
         kind == record::RequestKind::kRealloc || kind == record::RequestKind::kAligned;
}

}  // namespace oomguard::budget
