// What kind of program an exec is about to start, read from the file itself.
//
// Resolves a name through PATH as execvp does, follows "#!" lines (also through env) and reads ELF
// headers. A file that cannot be read is judged by its name.
// Thread-safety: no state. Callable from a hook, and between vfork and exec: yes (system calls and
// about 3 KiB of stack, nothing else; descriptors are closed before it returns).
#pragma once

#include <fcntl.h>

#include "shim/children/policy.h"

namespace oomguard::children {

struct Target {
  const char* path = nullptr;   // as given to exec; nullptr or "" with `directory_fd`: that file
  int directory_fd = AT_FDCWD;  // what a relative path starts from
  bool search_path = false;     // a name without a slash is looked up in PATH
};

// `path_variable`: the value of PATH in this process (not in the child's environment: execvp uses
// ours), nullptr where it is not set.
[[nodiscard]] Program inspect(const Target& target, const char* path_variable) noexcept;

}  // namespace oomguard::children
