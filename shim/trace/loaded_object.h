// Which loaded object (program, library, vDSO) an address lies in, where it is mapped and where its
// unwind table is. Never takes the dynamic linker's locks: a thread that holds the interpreter's
// lock would wait for one that is inside dlopen and wants it.
//
// glibc 2.35 and newer have _dl_find_object for this. Older ones do not: there the executable
// mappings of /proc/self/maps make a table of our own, which is read again, at most every 50 ms,
// when an address is not in it, and when the table is a second old. Thread-safety: all. Callable
// from a hook and from a signal handler: all but find_objects_with().
#pragma once

#include <link.h>

#include <cstddef>
#include <cstdint>

namespace oomguard::trace {

struct LoadedObject {
  uintptr_t start;
  uintptr_t end;
  uintptr_t bias;       // what is added to the addresses in its file
  uintptr_t eh_header;  // .eh_frame_hdr; 0: it has none
  const link_map* map;  // the dynamic linker's description; null from the table of our own
  uint64_t stamp;  // another one at the same place has another one: its build-id or name is in it
  bool lasts = false;  // it is one of those that are never unloaded: the program, libc, this library

  bool contains(uintptr_t address) const { return address >= start && address < end; }
  uint32_t short_stamp() const {
    return static_cast<uint32_t>(stamp >> 32) ^ static_cast<uint32_t>(stamp);
  }
};

enum class ObjectSource { kNewest, kOwnTable };

// At start. kNewest: the dynamic linker where it can be asked, else the table of our own. The other
// one is for tests. Not callable from a hook (dlsym).
void find_objects_with(ObjectSource source) noexcept;

[[nodiscard]] bool find_object(uintptr_t address, LoadedObject* out) noexcept;

// The objects that one walk has met: a stack mostly goes back and forth between a few.
// Thread-safety: one user each.
class RecentObjects {
 public:
  RecentObjects() = default;
  RecentObjects(const RecentObjects&) = delete;
  RecentObjects& operator=(const RecentObjects&) = delete;

  // The one that the address lies in is current. False: it lies in none.
  [[nodiscard]] bool find(uintptr_t address) noexcept {
    return current_->contains(address) || find_elsewhere(address);
  }
  const LoadedObject& current() const { return *current_; }

 private:
  static constexpr unsigned kKept = 4;

  bool find_elsewhere(uintptr_t address) noexcept;

  LoadedObject kept_[kKept] = {};
  const LoadedObject* current_ = kept_;
  unsigned oldest_ = 0;
};

// The path of the file that is mapped at this address, zero-terminated, as the kernel knows it:
// reads /proc/self/maps. False: none, or it does not fit.
[[nodiscard]] bool mapped_path(uintptr_t address, char* out, size_t capacity) noexcept;

}  // namespace oomguard::trace
