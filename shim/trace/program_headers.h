// The program headers of a loaded object, from its memory, or where they are not mapped beside the
// ELF header (patchelf moves them) from its file.
//
// Thread-safety: pure but for what is read. Callable from a hook and from a signal handler: yes, 4
// KiB of stack.
#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>

namespace oomguard::trace {

inline constexpr size_t kMaxProgramHeaders = 32;

struct ProgramHeaders {
  Elf64_Phdr entries[kMaxProgramHeaders];
  size_t count;

  // The first of that kind; null: none.
  const Elf64_Phdr* first(uint32_t type) const {
    for (size_t i = 0; i < count; ++i) {
      if (entries[i].p_type == type) return &entries[i];
    }
    return nullptr;
  }
};

// Of the object that is mapped from `start` to `end`; `path` may be null. False: neither has them.
[[nodiscard]] bool read_program_headers(uintptr_t start, uintptr_t end, const char* path,
                                        ProgramHeaders* out) noexcept;

// The address in the object's memory minus the one in its file.
[[nodiscard]] bool load_bias(uintptr_t start, const ProgramHeaders& headers,
                             uintptr_t* out) noexcept;

struct BuildId {
  uint8_t bytes[32];
  size_t size;  // of it, at most 32
  uintptr_t address;
};

// The build-id, from the note in the object's memory. False: it has none.
[[nodiscard]] bool read_build_id(uintptr_t start, uintptr_t end, uintptr_t bias,
                                 const ProgramHeaders& headers, BuildId* out) noexcept;

}  // namespace oomguard::trace
