// The few facts of an ELF program that decide whether it may keep the shim.
//
// Reads the file by bounded preads into the stack and treats it as hostile: every count is capped,
// every offset goes through pread, which answers 0 past the end.
// Thread-safety: no state. Callable from a hook, and between vfork and exec: yes.
#pragma once

#include <string_view>

namespace oomguard::children {

struct ElfFacts {
  bool native = false;       // our class, byte order and machine
  bool interpreted = false;  // has a program interpreter, so LD_PRELOAD works
  bool glibc = false;        // that interpreter is glibc's ld.so
  bool python = false;       // needs libpython or exports Py_BytesMain
};

// False where `fd` does not hold an ELF file.
[[nodiscard]] bool read_elf(int fd, ElfFacts* out) noexcept;

// The hash of the DT_GNU_HASH table.
constexpr unsigned gnu_hash(std::string_view name) {
  unsigned hash = 5381;
  for (char c : name) hash = hash * 33 + static_cast<unsigned char>(c);
  return hash;
}

}  // namespace oomguard::children
