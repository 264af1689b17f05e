// What the tests of admission share: questions to the gate, and a fresh one for each test.
#pragma once

#include <gtest/gtest.h>

#include "shim/budget/gate.h"
#include "shim/core/session.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::budget {

inline const void* pointer(uintptr_t value) { return reinterpret_cast<const void*>(value); }

inline bool ask(Bytes size, const void* caller = test::interpreter_caller(),
                record::RequestKind kind = record::RequestKind::kMalloc) {
  const Admission admission(kind, static_cast<size_t>(size), caller);
  return admission.granted();
}

inline uint64_t refusals() { return session::file()->header.refusals; }
inline const record::RefusalRecord& newest() {
  return session::file()->refusals[(refusals() - 1) % record::kRefusalSlots];
}

inline Bytes headroom_now() {
  probe::Reading reading;
  probe::Headroom headroom;
  if (!gate.look(probe::Depth::kFull, program_now_ns(), &reading, &headroom)) return -1;
  return headroom.bytes;
}

}  // namespace oomguard::budget

// A test that runs in a forked child, on a fresh gate.
#define GATE_TEST(name)                                        \
  void gate_##name();                                          \
  TEST(GateTest, name) { test::expect_in_child(gate_##name); } \
  void gate_##name()
// Of those that hold memory to within a few MiB of a line.
#define GATE_MEMORY_TEST(name)          \
  void gate_##name();                   \
  TEST(GateTest, name) {                \
    OOMGUARD_SKIP_UNDER_TSAN();         \
    test::expect_in_child(gate_##name); \
  }                                     \
  void gate_##name()
