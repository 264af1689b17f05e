// Hooks of the loader family, and the functions of shim/gpu/driver.def and nvml.def under the names
// that NVIDIA's libraries export.
//
// All of them jump and leave no frame: the dynamic linker asks by the return address who wants to
// know the next definition (RTLD_NEXT), in which namespace, and whose RUNPATH holds. What is not
// about a driver costs a compare of the name's first characters (dlsym) or of a flag (dlopen).
#include "shim/budget/gate.h"
#include "shim/gpu/deepbind.h"
#include "shim/gpu/driver.h"
#include "shim/gpu/nvml.h"
#include "shim/interpose/loader.h"

using oomguard::budget::Gate;

namespace {

void* found(const char* name, void* address) noexcept {
  if (address == nullptr || oomguard::budget::gate.mode() == Gate::Mode::kOff) return address;
  return name[0] == 'c' ? oomguard::gpu::hook_of(name, address)
                        : oomguard::gpu::nvml::hook_of(name, address);
}

}  // namespace

extern "C" {

// Where a name that may be the driver's is looked up in a library. The jumps below come here.
[[gnu::used]] void* oomguard_dlsym(void* handle, const char* name) noexcept {
  return found(name, oomguard::interpose::next_dlsym(handle, name));
}

[[gnu::used]] void* oomguard_dlvsym(void* handle, const char* name, const char* version) noexcept {
  if (oomguard_next_dlvsym == nullptr) oomguard_resolve_loader();
  return found(name, oomguard_next_dlvsym(handle, name, version));
}

// The flags that dlopen goes on with, where they have RTLD_DEEPBIND.
[[gnu::used]] int oomguard_dlopen_flags(const char* path, int flags) noexcept {
  return oomguard::budget::gate.mode() == Gate::Mode::kOff
             ? flags
             : oomguard::gpu::without_deepbind(path, flags);
}

}  // extern "C"

// A place that may be jumped to, where the compiler marks the file as one that has only such.
#if defined(__aarch64__)
#define OOMGUARD_LANDING "hint #34\n"  // bti c: for br x16 and x17, and blr
#else
#define OOMGUARD_LANDING ""
#endif

#define OOMGUARD_FUNCTION(name, body)                                          \
  asm(".pushsection .text\n.globl " #name "\n.type " #name ", %function\n" #name ":\n" \
      OOMGUARD_LANDING body                                                    \
      ".size " #name ", . - " #name "\n.popsection\n")

#if defined(__x86_64__)

// To `next`, which is found first where nobody did yet.
#define OOMGUARD_GO_ON(next)                                      \
  "mov " #next "(%rip), %rax\n"                                   \
  "test %rax, %rax\n"                                             \
  "jne 8f\n"                                                      \
  "push %rdi\npush %rsi\npush %rdx\n"                             \
  "call oomguard_resolve_loader\n"                                \
  "pop %rdx\npop %rsi\npop %rdi\n"                                \
  "mov " #next "(%rip), %rax\n"                                   \
  "8: jmp *%rax\n"

// A library's handle (neither RTLD_DEFAULT nor RTLD_NEXT), and a name that begins with cu and a
// capital, or with nvml: to `mine`.
#define OOMGUARD_LOOKUP(mine, next)                               \
  "test %rsi, %rsi\n"                                             \
  "je 1f\n"                                                       \
  "lea 1(%rdi), %rax\n"                                           \
  "cmp $1, %rax\n"                                                \
  "jbe 1f\n"                                                      \
  "cmpb $'c', (%rsi)\n"                                           \
  "jne 2f\n"                                                      \
  "cmpb $'u', 1(%rsi)\n"                                          \
  "jne 1f\n"                                                      \
  "movzbl 2(%rsi), %eax\n"                                        \
  "sub $'A', %eax\n"                                              \
  "cmp $25, %eax\n"                                               \
  "jbe " #mine "\n"                                               \
  "jmp 1f\n"                                                      \
  "2: cmpb $'n', (%rsi)\n"                                        \
  "jne 1f\n"                                                      \
  "cmpb $'v', 1(%rsi)\n"                                          \
  "jne 1f\n"                                                      \
  "cmpb $'m', 2(%rsi)\n"                                          \
  "jne 1f\n"                                                      \
  "cmpb $'l', 3(%rsi)\n"                                          \
  "je " #mine "\n"                                                \
  "1:\n" OOMGUARD_GO_ON(next)

OOMGUARD_FUNCTION(dlsym, OOMGUARD_LOOKUP(oomguard_dlsym, oomguard_next_dlsym));
OOMGUARD_FUNCTION(dlvsym, OOMGUARD_LOOKUP(oomguard_dlvsym, oomguard_next_dlvsym));
OOMGUARD_FUNCTION(dlopen,
                  "test $8, %esi\n"
                  "je 1f\n"
                  "push %rdi\npush %rsi\npush %rdx\n"
                  "call oomguard_dlopen_flags\n"
                  "pop %rdx\npop %rsi\npop %rdi\n"
                  "mov %eax, %esi\n"
                  "1:\n" OOMGUARD_GO_ON(oomguard_next_dlopen));

#define OOMGUARD_JUMP "jmp "

#elif defined(__aarch64__)

#define OOMGUARD_GO_ON(next)                                      \
  "adrp x16, " #next "\n"                                         \
  "ldr x16, [x16, #:lo12:" #next "]\n"                            \
  "cbnz x16, 8f\n"                                                \
  "stp x29, x30, [sp, #-48]!\n"                                   \
  "mov x29, sp\n"                                                 \
  "stp x0, x1, [sp, #16]\n"                                       \
  "str x2, [sp, #32]\n"                                           \
  "bl oomguard_resolve_loader\n"                                  \
  "ldr x2, [sp, #32]\n"                                           \
  "ldp x0, x1, [sp, #16]\n"                                       \
  "ldp x29, x30, [sp], #48\n"                                     \
  "adrp x16, " #next "\n"                                         \
  "ldr x16, [x16, #:lo12:" #next "]\n"                            \
  "8: br x16\n"

#define OOMGUARD_LOOKUP(mine, next)                               \
  "cbz x1, 1f\n"                                                  \
  "add x9, x0, #1\n"                                              \
  "cmp x9, #1\n"                                                  \
  "b.ls 1f\n"                                                     \
  "ldrb w9, [x1]\n"                                               \
  "cmp w9, #'c'\n"                                                \
  "b.ne 2f\n"                                                     \
  "ldrb w9, [x1, #1]\n"                                           \
  "cmp w9, #'u'\n"                                                \
  "b.ne 1f\n"                                                     \
  "ldrb w9, [x1, #2]\n"                                           \
  "sub w9, w9, #'A'\n"                                            \
  "cmp w9, #25\n"                                                 \
  "b.hi 1f\n"                                                     \
  "b " #mine "\n"                                                 \
  "2: cmp w9, #'n'\n"                                             \
  "b.ne 1f\n"                                                     \
  "ldrb w9, [x1, #1]\n"                                           \
  "cmp w9, #'v'\n"                                                \
  "b.ne 1f\n"                                                     \
  "ldrb w9, [x1, #2]\n"                                           \
  "cmp w9, #'m'\n"                                                \
  "b.ne 1f\n"                                                     \
  "ldrb w9, [x1, #3]\n"                                           \
  "cmp w9, #'l'\n"                                                \
  "b.ne 1f\n"                                                     \
  "b " #mine "\n"                                                 \
  "1:\n" OOMGUARD_GO_ON(next)

OOMGUARD_FUNCTION(dlsym, OOMGUARD_LOOKUP(oomguard_dlsym, oomguard_next_dlsym));
OOMGUARD_FUNCTION(dlvsym, OOMGUARD_LOOKUP(oomguard_dlvsym, oomguard_next_dlvsym));
OOMGUARD_FUNCTION(dlopen,
                  "tbz w1, #3, 1f\n"
                  "stp x29, x30, [sp, #-32]!\n"
                  "mov x29, sp\n"
                  "str x0, [sp, #16]\n"
                  "bl oomguard_dlopen_flags\n"
                  "mov w1, w0\n"
                  "ldr x0, [sp, #16]\n"
                  "ldp x29, x30, [sp], #32\n"
                  "1:\n" OOMGUARD_GO_ON(oomguard_next_dlopen));

#define OOMGUARD_JUMP "b "

#endif

#define OOMGUARD_DRIVER(name, symbol, version, flags, account) \
  OOMGUARD_FUNCTION(symbol, OOMGUARD_JUMP "oomguard_gpu_" #symbol "\n");
#include "shim/gpu/driver.def"
#undef OOMGUARD_DRIVER

#define OOMGUARD_NVML(symbol) OOMGUARD_FUNCTION(symbol, OOMGUARD_JUMP "oomguard_gpu_" #symbol "\n");
#include "shim/gpu/nvml.def"
#undef OOMGUARD_NVML
