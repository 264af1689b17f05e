// What of this process's address space is really there: /proc/self/pagemap.
//
// Used to tell a skeleton that nobody touches from a block that is being filled, and to keep the
// resident text of programs and libraries out of "reclaimable".
// Thread-safety: any number of callers. Callable from a hook and from the raw thread: yes.
// Errors: -1 where the kernel does not tell (the caller then counts in full).
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::probe {

class Residency {
 public:
  constexpr Residency() = default;

  // Opens /proc/self/pagemap and checks on two pages of its own (one written, one not) that the
  // kernel answers sensibly. Call again in fork's child. False: touched_pages answers -1 for ever.
  [[nodiscard]] bool open();

  // Estimate of how many bytes of [address, address + size) this process has made its own:
  // exclusively mapped anonymous or swapped pages; the shared zero page and never-touched pages are
  // not. Looks at `samples` pages spread evenly (first and last included), all of them when the
  // range is small. -1: unknown.
  int64_t touched_bytes(uintptr_t address, size_t size, uint32_t samples = 32) const;

  // Bytes of file-backed executable mappings present in this process's page tables. Reads
  // /proc/self/maps; takes 1-10 ms in a torch process, so ask rarely. -1: unknown.
  int64_t resident_text() const;

 private:
  int fd_ = -1;
  uint64_t identity_ = 0;  // st_dev and st_ino of the descriptor, mixed
};

}  // namespace oomguard::probe
