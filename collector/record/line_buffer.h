// Text built in a caller's buffer, line by line; a line that does not fit is left out whole.
//
// Allocation-free. Callable from a hook: yes. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::record {

class LineBuffer {
 public:
  LineBuffer(char* out, size_t capacity) : out_(out), capacity_(capacity) {}

  LineBuffer& text(const char* text);
  // A string of fixed size from a record, which may lack its end and may hold anything: stops at
  // `capacity`, and shows '?' for control characters (a terminal would obey them).
  LineBuffer& name(const char* text, size_t capacity);
  template <size_t N>
  LineBuffer& name(const char (&text)[N]) {
    return name(text, N);
  }
  LineBuffer& number(int64_t value);
  // Decimal, with zeros in front up to `width`.
  LineBuffer& padded(uint64_t value, unsigned width);
  void end_line();

  // Ends the text (NUL where there is room) and returns its length.
  size_t finish();

 private:
  void put(char c);

  char* out_;
  size_t capacity_;
  size_t length_ = 0;
  size_t committed_ = 0;  // end of the last whole line
  bool overflow_ = false;
};

}  // namespace oomguard::record
