// Which child processes keep the shim: the decision alone, on names and facts, without any file.
//
// A shim in a program that is not Python protects nothing and can break it (sanitizer builds demand
// to be first in the preload list, 32-bit programs print loader errors), so it is dropped at exec.
// Programs that may start Python keep it, idle: what they start is decided again, by the shim in
// them. A Python that is started by a program without the shim is not guarded again.
//
// Thread-safety: pure. Callable from a hook, and between vfork and exec: yes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "collector/options/options.h"

namespace oomguard::children {

enum class Program : uint8_t {
  kOther = 0,   // a native, dynamically linked program that has nothing to do with Python
  kPython,      // an interpreter, by name or by its symbols
  kLauncher,    // a shell, a wrapper or a tool that may start Python
  kForeign,     // another ELF class, machine or C library: its loader would choke on the shim
  kStatic,      // no dynamic loader: LD_PRELOAD means nothing to it
  kPrivileged,  // setuid or setgid: the loader ignores a preload with a path
};

enum class Verdict : uint8_t { kKeep, kDrop };

[[nodiscard]] Verdict decide(options::Children mode, Program program) noexcept;

// kPython, kLauncher or kOther, by the last component of `path`.
[[nodiscard]] Program classify_name(std::string_view path) noexcept;

[[nodiscard]] std::string_view basename(std::string_view path) noexcept;

// The first `count` characters, or all. string_view::substr would do, but it can throw, and that
// one reference links libstdc++'s exception run-time, which allocates at load, into the shim.
[[nodiscard]] constexpr std::string_view first(std::string_view text, size_t count) noexcept {
  if (count < text.size()) text.remove_suffix(text.size() - count);
  return text;
}

// The first line of a script as the kernel reads it: interpreter, then the rest as one argument.
struct Shebang {
  std::string_view interpreter;
  std::string_view argument;
};
// False where `head` (the first bytes of a file) does not begin with "#!" and a name.
[[nodiscard]] bool parse_shebang(std::string_view head, Shebang* out) noexcept;

// The program that `env` would start with this argument ("-S python3 -u" gives "python3"); empty
// where there is none. Options that take a value, and assignments, are skipped.
[[nodiscard]] std::string_view env_program(std::string_view argument) noexcept;

}  // namespace oomguard::children
