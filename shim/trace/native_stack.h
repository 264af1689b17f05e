// The return addresses of the calling thread, inside a hook.
//
// Frames are followed by what the modules' own unwind tables (.eh_frame) say, never by guessing:
// where a function has no description, and in code that was made at run time, the stack ends. Rules
// are kept in a cache of fixed size, so that a frame that was met before costs about 30 ns. Nothing
// is allocated, no lock is taken, the dynamic linker's least of all; errno stays. Everything is
// checked before it is read: tables against the module's mapped pages, the stack against what can
// be read of it. Each frame must lie above the one before; only a signal handler's caller may be on
// another stack.
//
// No library is used for this. libunwind asks dl_iterate_phdr, which takes the dynamic linker's
// lock (a thread that holds the interpreter's lock and allocates would wait for one whose
// constructor, inside dlopen, waits for the interpreter), allocates when its cache misses, and
// exports _Unwind_* symbols that would reach the program.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::trace {

inline constexpr size_t kMaxNativeFrames = 128;

enum class OwnFrames { kLeaveOut, kShow };

// Once at start, in the main thread, before any stack is read. kLeaveOut: of the module that
// contains this code (the shim), as far as its frames are the innermost ones. Not callable from a
// hook.
void prepare_native_stacks(OwnFrames own) noexcept;

// Writes return addresses, innermost first, and returns how many; the first lies in the function
// that called the hook. A function that a signal interrupted is given as its address + 1, so that
// "the instruction before" is right for all of them. At most `capacity` and kMaxNativeFrames.
// `objects`, where given, gets a number for each address that tells what is loaded there from what
// may be loaded at the same place later (0: the address lies in nothing that is loaded): what is
// remembered by address needs it in its key. `hint`: what tells one place in the program from
// another, where that is known; it only makes the answer come sooner. Callable from a hook and from a signal handler, in any
// thread that has libc's thread control block (not in the raw thread), on any stack; needs at most
// 3 KiB of it. 0 before prepare_native_stacks().
size_t read_native_stack(uintptr_t* out, size_t capacity, uint32_t* objects = nullptr,
                         uint64_t hint = 0) noexcept;

}  // namespace oomguard::trace
