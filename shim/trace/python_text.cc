#include "shim/trace/python_text.h"

#include <string.h>

namespace oomguard::trace {
namespace {

// PyASCIIObject.state, the same from 3.9 to 3.14.
constexpr unsigned kKindShift = 2;
constexpr uint32_t kKindMask = 7;
constexpr uint32_t kCompact = 0x20;
constexpr uint32_t kAscii = 0x40;
constexpr uint64_t kLongest = uint64_t{1} << 30;
constexpr uint32_t kReplacement = 0xfffd;
constexpr size_t kDots = 3;

bool read_character(PythonMemory* memory, const PythonText& text, uint64_t index,
                    uint32_t* out) noexcept {
  const unsigned char* at = memory->view(text.characters + index * text.width, text.width);
  if (at == nullptr) return false;
  *out = text.width == 1   ? *at
         : text.width == 2 ? value_at<uint16_t>(at, 0)
                           : value_at<uint32_t>(at, 0);
  if ((*out >= 0xd800 && *out < 0xe000) || *out > 0x10ffff || *out == 0) *out = kReplacement;
  return true;
}

// The first character from which on the rest takes at most `room` bytes.
bool find_start(PythonMemory* memory, const PythonText& text, size_t room, uint64_t* out) noexcept {
  size_t taken = 0;
  uint64_t start = text.length;
  for (; start > 0; --start) {
    uint32_t character;
    if (!read_character(memory, text, start - 1, &character)) return false;
    taken += utf8_bytes(character);
    if (taken > room) break;
  }
  *out = start;
  return true;
}

}  // namespace

size_t put_utf8(uint32_t character, char* out) noexcept {
  const size_t bytes = utf8_bytes(character);
  if (bytes == 1) {
    *out = static_cast<char>(character);
    return 1;
  }
  constexpr unsigned char kLead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (size_t i = bytes - 1; i > 0; --i) {
    out[i] = static_cast<char>(0x80 | (character & 0x3f));
    character >>= 6;
  }
  out[0] = static_cast<char>(kLead[bytes] | character);
  return bytes;
}

bool find_text(PythonMemory* memory, const PythonLayout& layout, uintptr_t object,
               PythonText* out) noexcept {
  const unsigned char* header = memory->view(object, layout.text_ascii);
  if (header == nullptr) return false;
  const auto state = value_at<uint32_t>(header, layout.text_state);
  out->length = value_at<uint64_t>(header, layout.text_length);
  out->width = state >> kKindShift & kKindMask;
  if (out->width != 1 && out->width != 2 && out->width != 4) return false;
  if (out->length > kLongest) return false;
  if ((state & kCompact) == 0) return memory->read(object + layout.text_compact, &out->characters);
  out->characters = object + ((state & kAscii) != 0 ? layout.text_ascii : layout.text_compact);
  return true;
}

bool copy_text(PythonMemory* memory, const PythonText& text, char* out, size_t capacity) noexcept {
  out[0] = '\0';
  uint64_t start;
  if (!find_start(memory, text, capacity - 1, &start)) return false;
  size_t used = 0;
  if (start > 0) {
    if (!find_start(memory, text, capacity - 1 - kDots, &start)) return false;
    memcpy(out, "...", kDots);
    used = kDots;
  }
  for (uint64_t i = start; i < text.length; ++i) {
    uint32_t character;
    // Another thread may change what is no string any more: the room counts, not what was seen.
    if (!read_character(memory, text, i, &character) ||
        used + utf8_bytes(character) >= capacity) {
      out[0] = '\0';
      return false;
    }
    used += put_utf8(character, out + used);
  }
  out[used] = '\0';
  return true;
}

}  // namespace oomguard::trace
