// Who asks: the module that a return address lies in, and whether it can live with a refusal.
//
// The table of executable mappings is read from /proc/self/maps when it is first needed (near a
// limit, never at start), and again when it is a second old or an address is unknown. Whether a
// module aborts on NULL is looked up in its file (rust_module.h) when a refusal is about to land
// there. Who stands behind a request of the interpreter or of the C++ runtime: behind.h.
// Callable from a hook and from the raw thread: yes (oomguard::sys calls only, small stack).
// Thread-safety: one thread builds while others use the old table or get kUnknown.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::budget {

enum class Caller : uint8_t {
  kUnknown = 0,
  kInterpreter,  // libpython or the python executable, and its own extension modules
  kExtension,    // Python extension modules and the libraries that ship with them
  kOther,
  kCxxRuntime,   // operator new: asks for somebody else
  kAborts,       // Rust, OpenBLAS, OpenMP runtimes, XLA, LLVM: NULL ends the process
  kAbortsOnObjects,  // Rust that cannot unwind: NULL from Python's C API ends the process too
};

// The smallest request that may be refused to this kind of caller; INT64_MAX: never.
constexpr int64_t refusable_from(Caller caller) {
  switch (caller) {
    case Caller::kInterpreter: return 1;
    case Caller::kExtension: return 64 * 1024;
    case Caller::kAborts:
    case Caller::kAbortsOnObjects: return INT64_MAX;
    default: return 16 * 1024 * 1024;
  }
}

constexpr bool never_refused(Caller caller) { return refusable_from(caller) == INT64_MAX; }

// By its path alone (the first step; Rust needs a look into the file). Pure.
Caller classify_path(const char* path) noexcept;

// An address inside the interpreter (its Py_IsInitialized): the mapping's file is the interpreter.
void set_interpreter_address(uintptr_t address) noexcept;

// In fork's child: a thread that was building the table does not exist.
void forget_table_users() noexcept;

Caller classify(uintptr_t return_address) noexcept;
// The same from the table as it is, which may be empty or old.
Caller classify_known(uintptr_t address) noexcept;
// Reads the table again, where that was not done in the last 10 ms.
void find_new_modules() noexcept;
// File name of the module, "" where unknown.
void module_name(uintptr_t address, char* out, size_t capacity) noexcept;

}  // namespace oomguard::budget
