// What a module's ELF file says about the compiler that made it: rustc names itself in .comment, a
// section that is not mapped. Rust code ends the process when it gets no memory. Where it can
// unwind, a NULL from Python's C API becomes a Python exception (PyO3's PanicException); where it
// was built to abort instead (orjson), that NULL ends the process too.
//
// Bounded reads of a file that may be hostile. Callable from a hook: yes (oomguard::sys calls only,
// 700 bytes of stack). Thread-safety: pure functions.
#pragma once

namespace oomguard::budget {

// True where the file says that rustc made it.
bool made_by_rust(const char* path) noexcept;
// True where it names the function that starts an unwinding among its dynamic symbols.
bool unwinds(const char* path) noexcept;

}  // namespace oomguard::budget
