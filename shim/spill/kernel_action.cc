#include "shim/spill/kernel_action.h"

namespace oomguard::spill {

#if defined(__x86_64__)
extern "C" [[gnu::visibility("hidden")]] void oomguard_signal_return();
// The instructions are those by which debuggers and unwinders know a signal frame.
asm(".text\n"
    ".hidden oomguard_signal_return\n"
    ".type oomguard_signal_return, @function\n"
    "nop\n"
    "oomguard_signal_return:\n"
    "mov $15, %rax\n"
    "syscall\n");

KernelAction make_action(uintptr_t handler, uint64_t flags) noexcept {
  constexpr uint64_t kRestorer = 0x04000000;
  return {handler, flags | kRestorer, reinterpret_cast<uintptr_t>(&oomguard_signal_return), 0};
}
#else
KernelAction make_action(uintptr_t handler, uint64_t flags) noexcept {
  return {handler, flags, 0, 0};
}
#endif

}  // namespace oomguard::spill
