// Writes one refusal into the session's file, at once and complete: numbers, the ten largest live
// blocks with the module that asked, other processes of the group. A hook never prints.
// Callable from a hook and from the raw thread: yes. No allocation; the record is filled in place.
#pragma once

#include <cstdint>

#include "collector/record/flight.h"
#include "shim/budget/gate.h"

namespace oomguard::budget {

struct Refusal {
  record::RequestKind kind;
  record::Outcome outcome;
  Bytes size;
  uintptr_t caller;
  int32_t thread_id;
  uint64_t incident;
  const Judgement* judgement;
  // Where it is not the host's memory: writes the limits and the blocks.
  void (*fill)(const void* data, record::RefusalRecord* out) noexcept = nullptr;
  const void* data = nullptr;
};

// Returns the refusal's 1-based number. An incident's refusals beyond the ring's size are counted
// and get a number, but no record.
uint64_t write_refusal(const Refusal& refusal, int64_t now_ns) noexcept;

// In fork's child, before its first record.
void forget_incident_of_parent() noexcept;

// A child's record becomes one of this process's, an incident of its own. Returns its number here.
uint64_t adopt_record(const record::RefusalRecord& theirs) noexcept;

}  // namespace oomguard::budget
