#include "collector/record/line_buffer.h"

namespace oomguard::record {

void LineBuffer::put(char c) {
  if (length_ + 1 >= capacity_) {
    overflow_ = true;
    return;
  }
  out_[length_++] = c;
}

LineBuffer& LineBuffer::text(const char* text) {
  for (; *text != '\0'; ++text) put(*text);
  return *this;
}

LineBuffer& LineBuffer::name(const char* text, size_t capacity) {
  for (size_t i = 0; i < capacity && text[i] != '\0'; ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F are control characters too; UTF-8 spells them c2 80 to c2 9f.
    const bool c1 =
        c >= 0x80 && c <= 0x9f && i > 0 && static_cast<unsigned char>(text[i - 1]) == 0xc2;
    put(c < 0x20 || c == 0x7f || c1 ? '?' : text[i]);
  }
  return *this;
}

LineBuffer& LineBuffer::number(int64_t value) {
  if (value < 0) put('-');
  return padded(value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value), 1);
}

LineBuffer& LineBuffer::padded(uint64_t value, unsigned width) {
  char digits[20];
  unsigned count = 0;
  do {
    digits[count++] = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  for (; width > count; --width) put('0');
  while (count > 0) put(digits[--count]);
  return *this;
}

void LineBuffer::end_line() {
  put('\n');
  if (overflow_) return;
  committed_ = length_;
}

size_t LineBuffer::finish() {
  // After the first line that did not fit nothing more is shown: a gap would mislead.
  if (capacity_ > 0) out_[committed_] = '\0';
  return committed_;
}

}  // namespace oomguard::record
