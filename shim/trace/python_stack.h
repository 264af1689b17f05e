// The Python stack of the thread that asks, read from the interpreter's memory: without the GIL,
// without calling into the interpreter beyond two functions that only look a thread state up, and
// without making an object (PyFrame_GetBack makes one for each frame from 3.11 on).
//
// CPython 3.9 to 3.13, and 3.14 as its debug offsets say (not tried). 0 frames, never a guess:
// other interpreters and layouts (python_layout.h), a build without the GIL (there another thread
// may clear a frame that is read), an interpreter that was loaded with dlopen after the program had
// started, a thread that Python does not know, before Py_Initialize and after Py_FinalizeEx.
// Of a thread that runs a subinterpreter, what PyGILState_GetThisThreadState says is read.
//
// What is safe to read, and why:
// - The thread state and its chain of frames are the thread's own. While it is inside a hook nobody
//   else pushes or pops a frame there, and a frame holds its code object, that one its names and
//   its tables. A frame is linked only when it is complete up to its locals (3.9 to 3.13), so an
//   allocation made while a frame is created sees the caller's, and one made while the locals are
//   set up (cells, a generator object) sees the new frame on its first line.
// - Only the end of the interpreter takes that away from a thread that has released the GIL (the
//   states of daemon threads are freed). `python_is_ending` is told before, and waits for those who
//   are reading; from then on such a thread reads through the kernel (python_memory.h).
// - Anything else is a wrong pointer. Each is checked for alignment and range and for a readable
//   page, each code object by its type, lengths and steps are bounded; at the first one that is not
//   what it should be the stack ends with what was read.
// A C signal handler that allocates between two stores of a frame that is being pushed may see a
// wrong pointer, or the stack without that frame.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::trace {

struct RawFrame {
  uintptr_t code;              // the code object
  uint32_t instruction_bytes;  // of the running instruction, from the start of the code
  // The outermost frame of its C call of the evaluation loop. Up to 3.10 each one is; from 3.11 on
  // a Python function that Python calls runs in the C frame of its caller.
  bool entry;
};

struct CodeText {
  char file[512];      // UTF-8; of a longer one the end, behind "..."
  char function[256];  // qualified from 3.11 on, as the code object has it
  int line;            // of the running instruction; 0 unknown
  int first_line;
};

// Looks for the interpreter in the global scope. Once, before anything else here, from the
// library's constructor: dlsym allocates. False: none that can be read; the functions below then
// answer 0.
bool find_python() noexcept;

// Innermost first; the return value is how many. Of a deeper stack the innermost `capacity` frames.
// 0 where this thread has no Python state. Thread-safe. Callable from a hook: yes; no allocation,
// no lock, errno kept. About 10 ns a frame; without the GIL after python_is_ending 1 to 2 us.
size_t read_python_stack(RawFrame* out, size_t capacity) noexcept;

// A number for the code object of each frame, which changes when the object behind the same address
// becomes another one, so that what was described need not be again: its parts' addresses, the first
// line, the lengths and ends of its names and of its line table (a notebook's cells have names of
// one length, freed and reused). 0: no code object. The frames are those that read_python_stack gave
// in this very hook; otherwise as that. About 40 ns each, some times as much where their memory is
// in no cache.
void code_identities(const RawFrame* frames, size_t count, uint64_t* out) noexcept;

// What a person reads. Of a frame that read_python_stack gave in this very hook: later its code
// object may be gone. False where there is none; a name that cannot be read is "". Thread-safe.
// Callable from a hook: yes; about 1 us, and as much as the line table is long.
bool describe(const RawFrame& frame, CodeText* out) noexcept;

// The interpreter is about to free what other threads read: to be called before Py_FinalizeEx does
// so (from an atexit callback), with or without the GIL. Returns once nobody reads without it, at
// the latest after 0.1 s. Not from a hook.
void python_is_ending() noexcept;

// In fork's child: threads that were reading are not there.
void forget_python_readers() noexcept;

}  // namespace oomguard::trace
