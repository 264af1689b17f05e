// Numbers out of the kernel's texts: files of one number, and files of "key value" lines.
//
// Written for hostile input (empty, cut off, binary, absurd numbers): a value is believed only
// where the whole line has the expected form.
// Thread-safety: pure functions on the caller's objects. Callable from a hook and from the raw
// thread: yes; no function uses more than 1.4 KiB of stack.
#pragma once

#include <cstddef>
#include <cstdint>

#include "collector/probe/kernel_file.h"
#include "collector/probe/reading.h"

namespace oomguard::probe {

// Reads a decimal number at `*cursor`, before `end`, and moves the cursor behind it. Values above
// INT64_MAX become kUnlimited. False where there is no digit.
[[nodiscard]] bool parse_number(const char** cursor, const char* end, Bytes* out);

// The text of a file of one number: digits or "max", then nothing but a newline. v1 writes "no
// limit" as the largest multiple of the page size; everything from 2^62 is kUnlimited.
[[nodiscard]] bool parse_single(const char* text, size_t size, Bytes* out);

// Reads such a file. 0, or -errno (-EINVAL: it is not one number).
[[nodiscard]] int read_single(KernelFile& file, PathRef path, Bytes* out);
[[nodiscard]] int read_single_once(PathRef path, Bytes* out);

// One line to look for: `key`, blanks, a number, and perhaps " kB" (which multiplies by 1024).
struct KeyedValue {
  const char* key;
  Bytes value = 0;
  bool found = false;
};

// Looks for `count` keys and stops when it has all. 0, or -errno of the first read. Which keys were
// there is in `found`.
[[nodiscard]] int read_keyed(KernelFile& file, PathRef path, KeyedValue* wanted, size_t count);
[[nodiscard]] int read_keyed_once(PathRef path, KeyedValue* wanted, size_t count);

// The lines of one text in order, for the tests and the two readers above.
void match_line(const char* line, const char* end, KeyedValue* wanted, size_t count);

// Bytes of a page; statm and pagemap count in pages.
Bytes page_size();

// A number of pages, 0 or more, in bytes; kUnlimited where that is more than a number holds.
Bytes pages_to_bytes(Bytes pages);

// A file read from start to end in small pieces, one character at a time.
class CharStream {
 public:
  explicit CharStream(int fd) : fd_(fd) {}
  // The next character (0-255), or -1 at the end or after an error.
  int next() {
    if (at_ < size_) return static_cast<unsigned char>(buffer_[at_++]);
    return refill();
  }

 private:
  int refill();

  int fd_;
  uint16_t at_ = 0;
  uint16_t size_ = 0;
  char buffer_[512];
};

}  // namespace oomguard::probe
