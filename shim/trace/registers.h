// The machine registers that call frames are described with, by their DWARF numbers.
//
// Thread-safety: plain values. Callable from a hook and from a signal handler: yes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::trace {

#if defined(__x86_64__)
inline constexpr unsigned kRegisters = 17;
inline constexpr unsigned kFrameRegister = 6;    // rbp
inline constexpr unsigned kStackRegister = 7;    // rsp
inline constexpr unsigned kReturnRegister = 16;  // rip: the column of the return address
// What a called function must leave as it was: rbx, rbp, r12 to r15; then the return address.
inline constexpr uint8_t kPreserved[] = {3, 6, 12, 13, 14, 15, kReturnRegister};
inline constexpr uintptr_t kPushedByCall = 8;
inline constexpr bool kReturnInRegister = false;
inline constexpr uintptr_t kAddressBits = ~uintptr_t{0};
#elif defined(__aarch64__)
inline constexpr unsigned kRegisters = 32;
inline constexpr unsigned kFrameRegister = 29;
inline constexpr unsigned kStackRegister = 31;
inline constexpr unsigned kReturnRegister = 30;  // the link register
inline constexpr uint8_t kPreserved[] = {19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30};
inline constexpr uintptr_t kPushedByCall = 0;
inline constexpr bool kReturnInRegister = true;
// A signed return address carries its signature in the bits that no address uses.
inline constexpr uintptr_t kAddressBits = (uintptr_t{1} << 48) - 1;
#else
#error "call stacks are read on x86-64 and aarch64"
#endif
inline constexpr size_t kPreservedCount = sizeof kPreserved;

// One frame's registers, as far as they are known, and where it goes on.
struct Registers {
  uintptr_t values[kRegisters];
  uint32_t known;  // a bit for each
  uintptr_t pc;

  bool has(unsigned number) const { return number < kRegisters && (known >> number & 1) != 0; }
  void set(unsigned number, uintptr_t value) {
    values[number] = value;
    known |= uint32_t{1} << number;
  }
  void forget(unsigned number) { known &= ~(uint32_t{1} << number); }
  uintptr_t stack() const { return values[kStackRegister]; }
};

constexpr uint32_t preserved_bits() {
  uint32_t bits = uint32_t{1} << kStackRegister;
  for (const uint8_t number : kPreserved) bits |= uint32_t{1} << number;
  return bits;
}

// The registers of the function that this is expanded in, at this place of it.
[[gnu::always_inline]] inline void capture(Registers* out) {
  out->known = preserved_bits();
#if defined(__x86_64__)
  asm volatile(
      "movq %%rbx, 24(%1)\n\tmovq %%rbp, 48(%1)\n\tmovq %%rsp, 56(%1)\n\t"
      "movq %%r12, 96(%1)\n\tmovq %%r13, 104(%1)\n\tmovq %%r14, 112(%1)\n\t"
      "movq %%r15, 120(%1)\n\tleaq 0f(%%rip), %0\n0:"
      : "=&r"(out->pc)
      : "r"(out->values)
      : "memory");
  out->values[kReturnRegister] = out->pc;
#else
  asm volatile(
      "stp x19, x20, [%1, #152]\n\tstp x21, x22, [%1, #168]\n\tstp x23, x24, [%1, #184]\n\t"
      "stp x25, x26, [%1, #200]\n\tstp x27, x28, [%1, #216]\n\tstp x29, x30, [%1, #232]\n\t"
      "mov %0, sp\n\tstr %0, [%1, #248]\n\tadr %0, 0f\n0:"
      : "=&r"(out->pc)
      : "r"(out->values)
      : "memory");
#endif
}

}  // namespace oomguard::trace
