#include "shim/budget/behind.h"

#include <string.h>
#include <sys/uio.h>

#include "collector/probe/syscall.h"

namespace oomguard::budget {
namespace {

constexpr size_t kWords = 128;
constexpr size_t kMaxOwnFrames = 16;
constexpr size_t kPage = 4096;
constexpr uintptr_t kLowest = 0x10000;
constexpr uintptr_t kHighest = uintptr_t{1} << 47;

constinit uintptr_t g_loop_start = 0;
constinit uintptr_t g_loop_end = 0;
using ThisThread = void* (*)();
constinit ThisThread g_this_thread = nullptr;

// Copies from this process's own memory up to what cannot be read; returns how many bytes. Less
// than a page: in two parts where it crosses into another one, since a part is copied as a whole or
// not.
size_t peek(uintptr_t address, void* out, size_t size) {
  const size_t in_page = kPage - address % kPage;
  const size_t first = size < in_page ? size : in_page;
  iovec to{out, size};
  iovec from[] = {{reinterpret_cast<void*>(address), first},
                  {reinterpret_cast<void*>(address + first), size - first}};
  const long got = sys::call(SYS_process_vm_readv, sys::call(SYS_getpid), sys::as_arg(&to), 1,
                             sys::as_arg(from), 2, 0);
  return got > 0 ? static_cast<size_t>(got) : 0;
}

// Our own frames are chained; the one whose return address is the hook's ends where the caller's
// begins. 0 where it is not found.
[[gnu::noinline]] uintptr_t stack_of_caller(uintptr_t return_address) {
  auto* frame = static_cast<const uintptr_t*>(__builtin_frame_address(0));
  for (size_t i = 0; i < kMaxOwnFrames; ++i) {
    if (frame[1] == return_address) return reinterpret_cast<uintptr_t>(frame + 2);
    const auto* next = reinterpret_cast<const uintptr_t*>(frame[0]);
    if (next <= frame || next > frame + 4096) return 0;
    frame = next;
  }
  return 0;
}

bool may_be_return_address(uintptr_t word) {
  unsigned char before[8];
  return word >= kLowest && word < kHighest &&
         peek(word - sizeof before, before, sizeof before) == sizeof before && follows_call(before);
}

bool in_loop(uintptr_t word) { return word >= g_loop_start && word < g_loop_end; }

// The first caller in another place than `nearest`'s; kUnknown where none is seen.
Caller next_caller(Caller nearest, const uintptr_t* words, size_t count) {
  bool looked = false;
  for (size_t i = 0; i < count; ++i) {
    Caller caller = classify_known(words[i]);
    if (caller == nearest && nearest == Caller::kInterpreter && in_loop(words[i])) return caller;
    if (caller == nearest || !may_be_return_address(words[i])) continue;
    if (caller == Caller::kUnknown) {  // a module that was loaded since, or no code at all
      if (!looked) find_new_modules();
      looked = true;
      caller = classify_known(words[i]);
      if (caller == Caller::kUnknown || caller == nearest) continue;
    }
    return caller;
  }
  return Caller::kUnknown;
}

}  // namespace

bool follows_call(const unsigned char (&before)[8]) noexcept {
#if defined(__x86_64__)
  if (before[3] == 0xe8) return true;  // call rel32
  // call through a register or memory: ff /2, with 0, 1 or 4 bytes of displacement, maybe a SIB
  // byte.
  static constexpr int kStarts[] = {6, 5, 4, 2, 1};
  for (const int at : kStarts) {
    if (before[at] == 0xff && (before[at + 1] & 0x38) == 0x10) return true;
  }
  return false;
#else
  uint32_t instruction;
  memcpy(&instruction, before + 4, sizeof instruction);
  return (instruction & 0xfc000000) == 0x94000000 ||  // bl
         (instruction & 0xfffffc1f) == 0xd63f0000;    // blr
#endif
}

void set_interpreter_loop(uintptr_t start, uintptr_t size, void* (*this_thread)()) noexcept {
  g_loop_start = start;
  g_loop_end = start + size;
  g_this_thread = this_thread;
}

Caller behind(Caller nearest, uintptr_t return_address) noexcept {
  if (nearest != Caller::kInterpreter && nearest != Caller::kCxxRuntime) return nearest;
  // An exception of C++ in a thread that Python did not start, or never entered, mostly ends the
  // process: nobody catches it there.
  if (nearest == Caller::kCxxRuntime && g_this_thread != nullptr && g_this_thread() == nullptr) {
    return Caller::kAborts;
  }
  const uintptr_t stack = stack_of_caller(return_address);
  if (stack == 0) return nearest;
  uintptr_t words[kWords];
  const size_t got = peek(stack, words, sizeof words);
  const Caller caller = next_caller(nearest, words, got / sizeof words[0]);
  const bool aborts = caller == Caller::kAbortsOnObjects ||
                      (caller == Caller::kAborts && nearest == Caller::kCxxRuntime);
  return aborts ? caller : nearest;
}

}  // namespace oomguard::budget
