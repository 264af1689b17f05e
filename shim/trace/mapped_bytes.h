// Reads what a module has mapped: unwind tables, notes, program headers. Nothing in there is
// believed to be well-formed: each read is checked against the module's range, and each page, once
// for as long as a reader stays on it, against what the kernel can read (a range may have holes).
//
// Thread-safety: plain values, one user each. Callable from a hook and from a signal handler: yes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "collector/probe/readable.h"

namespace oomguard::trace {

class MappedRange {
 public:
  MappedRange(uintptr_t start, uintptr_t end) noexcept : start_(start), end_(end) {}

  uintptr_t start() const { return start_; }
  uintptr_t end() const { return end_; }
  bool contains(uintptr_t at, size_t size) const {
    return at >= start_ && at < end_ && size <= end_ - at;
  }
  // False: out of the range, or not there.
  [[nodiscard]] bool read(uintptr_t at, void* out, size_t size) noexcept {
    if (!contains(at, size) || !is_there(at, size)) return false;
    memcpy(out, reinterpret_cast<const void*>(at), size);
    return true;
  }

 private:
  static constexpr uintptr_t kPage = 4096;

  bool is_there(uintptr_t at, size_t size) noexcept {
    const uintptr_t first = at & ~(kPage - 1);
    const uintptr_t last = (at + size - 1) & ~(kPage - 1);
    if (first == seen_ && last == seen_) return true;
    if (!sys::is_readable(reinterpret_cast<const void*>(at), size)) return false;
    seen_ = last;
    return true;
  }

  uintptr_t start_;
  uintptr_t end_;
  uintptr_t seen_ = 1;  // the page that was found readable last; 1: none
};

// Reads forward from `at` to `end`. After a read that fails everything reads as 0 and ok() is
// false.
class ByteReader {
 public:
  ByteReader(MappedRange& range, uintptr_t at, uintptr_t end) noexcept
      : range_(range), at_(at), end_(end) {}

  bool ok() const { return ok_; }
  bool at_end() const { return !ok_ || at_ >= end_; }
  uintptr_t at() const { return at_; }

  template <typename T>
  T get() noexcept {
    T value{};
    if (!ok_ || at_ > end_ || sizeof(T) > end_ - at_ || !range_.read(at_, &value, sizeof value)) {
      ok_ = false;
      return T{};
    }
    at_ += sizeof value;
    return value;
  }
  uint64_t uleb() noexcept {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      const uint8_t byte = get<uint8_t>();
      if (shift < 64) value |= uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80) == 0) return value;
    }
    ok_ = false;
    return 0;
  }
  int64_t sleb() noexcept {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      const uint8_t byte = get<uint8_t>();
      if (shift < 64) value |= uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80) == 0) {
        if (shift + 7 < 64 && (byte & 0x40) != 0) value |= ~uint64_t{0} << (shift + 7);
        return static_cast<int64_t>(value);
      }
    }
    ok_ = false;
    return 0;
  }
  // A pointer in one of the encodings of unwind tables (DW_EH_PE_*); `data` is what
  // DW_EH_PE_datarel counts from. Those that need more than the module (text-relative, indirect)
  // fail.
  uintptr_t encoded(uint8_t encoding, uintptr_t data = 0) noexcept;
  void skip(uint64_t size) noexcept {
    if (!ok_ || at_ > end_ || size > end_ - at_) {
      ok_ = false;
    } else {
      at_ += size;
    }
  }

 private:
  MappedRange& range_;
  uintptr_t at_;
  uintptr_t end_;
  bool ok_ = true;
};

inline uintptr_t ByteReader::encoded(uint8_t encoding, uintptr_t data) noexcept {
  const uintptr_t here = at_;
  uintptr_t value = 0;
  switch (encoding & 0x0f) {
    case 0x00: value = get<uint64_t>(); break;
    case 0x01: value = uleb(); break;
    case 0x02: value = get<uint16_t>(); break;
    case 0x03: value = get<uint32_t>(); break;
    case 0x04: value = get<uint64_t>(); break;
    case 0x09: value = static_cast<uintptr_t>(sleb()); break;
    case 0x0a: value = static_cast<uintptr_t>(intptr_t{get<int16_t>()}); break;
    case 0x0b: value = static_cast<uintptr_t>(intptr_t{get<int32_t>()}); break;
    case 0x0c: value = get<uint64_t>(); break;
    default: ok_ = false;
  }
  switch (encoding & 0xf0) {
    case 0x00: return value;
    case 0x10: return value + here;
    case 0x30: return value + data;
    default: ok_ = false; return 0;
  }
}

}  // namespace oomguard::trace
