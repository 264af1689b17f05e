// What a frame's description says at one address of its function: where the caller's stack pointer
// (the canonical frame address) and the caller's registers are.
//
// Thread-safety: pure but for the memory that is read. Callable from a hook and from a signal
// handler: yes; at most 1.6 KiB of stack.
#pragma once

#include <cstdint>

#include "shim/trace/mapped_bytes.h"
#include "shim/trace/registers.h"
#include "shim/trace/thread_stack.h"
#include "shim/trace/unwind_table.h"

namespace oomguard::trace {

enum class Where : uint8_t {
  kSame = 0,         // the caller's is what it is here
  kUndefined,        // lost; of the return address: nobody called
  kSaved,            // at the frame address + value
  kFrameOffset,      // is the frame address + value
  kRegister,         // in another register: value
  kSavedAtResult,    // at the address that an expression yields; value: where the expression lies
  kResult,           // what the expression yields
};

struct FrameRow {
  bool address_by_expression;
  uint8_t address_register;
  int64_t address_offset;          // frame address = that register + offset
  uintptr_t address_expression;    // or what this yields
  Where where[kRegisters];
  int64_t value[kRegisters];
};

// False: the description makes no sense, or says nothing of this address.
[[nodiscard]] bool read_row(MappedRange& module, const FrameDescription& description,
                            uintptr_t address, FrameRow* out) noexcept;

// The value of the expression (a length, then as many bytes) at `at`; it starts with `first` on its
// stack where there is one. False: it needs something that is not known here, or makes no sense.
[[nodiscard]] bool evaluate(MappedRange& module, uintptr_t at, const Registers& registers,
                            ThreadStack& stack, const uintptr_t* first, uintptr_t* out) noexcept;

// Expressions that compilers write for frames whose stack pointer was aligned: "what lies at this
// register + offset" (`*loaded` true) and "this register + offset". False: another one.
[[nodiscard]] bool is_simple_expression(MappedRange& module, uintptr_t at, uint8_t* number,
                                        int64_t* offset, bool* loaded) noexcept;

}  // namespace oomguard::trace
