#include "shim/trace/python_layout.h"

#include <string.h>

#include <algorithm>
#include <iterator>

namespace oomguard::trace {
namespace {

// From the headers of 3.9.18, 3.10.13, 3.11.2, 3.11.7 and 3.12.1 (offsetof, 64 bits; the same on
// x86-64 and aarch64). They belong to the ABI of each minor version, which its releases keep.
constexpr PythonLayout k39 = {
    .form = FrameForm::kObjects,
    .position = Position::kBytes,
    .line_table = LineTable::kPairs,
    .through_cframe = false,
    .state_frame = 24,
    .cframe_frame = 0,
    .frame_bytes = 108,
    .frame_previous = 24,
    .frame_code = 32,
    .code_marks = 0,
    .frame_position = 104,
    .frame_owner = 0,
    .frame_entry = 0,
    .code_bytes = 128,
    .code_file = 104,
    .code_name = 112,
    .code_lines = 120,
    .code_first_line = 40,
    .code_start = 0,
    .text_length = 16,
    .text_state = 32,
    .text_ascii = 48,
    .text_compact = 72,
    .bytes_size = 16,
    .bytes_text = 32,
    .code_type_bytes = 176,
    .frame_type_bytes = 368,
};

constexpr PythonLayout make_310() {
  PythonLayout layout = k39;
  layout.position = Position::kUnits;
  layout.line_table = LineTable::kRanges;
  layout.frame_bytes = 100;
  layout.frame_position = 96;
  layout.frame_type_bytes = 360;
  return layout;
}
constexpr PythonLayout k310 = make_310();

constexpr PythonLayout make_311() {
  PythonLayout layout = k39;
  layout.form = FrameForm::kEntryMark;
  layout.position = Position::kPointer;
  layout.line_table = LineTable::kLocations;
  layout.through_cframe = true;
  layout.state_frame = 56;
  layout.cframe_frame = 8;
  layout.frame_bytes = 72;
  layout.frame_previous = 48;
  layout.frame_code = 32;
  layout.frame_position = 56;
  layout.frame_entry = 68;
  layout.code_bytes = 144;
  layout.code_file = 112;
  layout.code_name = 128;
  layout.code_lines = 136;
  layout.code_first_line = 72;
  layout.code_start = 184;
  layout.code_type_bytes = 184;
  layout.frame_type_bytes = 120;
  return layout;
}
constexpr PythonLayout k311 = make_311();

constexpr PythonLayout make_312() {
  PythonLayout layout = k311;
  layout.form = FrameForm::kEntryFrames;
  layout.cframe_frame = 0;
  layout.frame_previous = 8;
  layout.frame_code = 0;
  layout.frame_owner = 70;
  layout.frame_entry = 0;
  layout.code_first_line = 68;
  layout.code_start = 192;
  layout.text_ascii = 40;
  layout.text_compact = 56;
  layout.code_type_bytes = 192;
  return layout;
}
constexpr PythonLayout k312 = make_312();

// _Py_DebugOffsets: words of 64 bits, of which each version has some more than the one before.
struct DebugWords {
  uint64_t version;     // PY_VERSION_HEX without its lower half
  uint16_t code_marks;  // Py_TAG_BITS, where references have them
  size_t state;         // thread_state.size
  size_t frame;         // interpreter_frame.size
  size_t code;          // code_object.size
  size_t object;        // pyobject.size
  size_t bytes;         // bytes_object.size
  size_t unicode;       // unicode_object.size
};
constexpr DebugWords kDebugWords[] = {
    {.version = 0x030d, .code_marks = 0, .state = 19, .frame = 28, .code = 34, .object = 44,
     .bytes = 64, .unicode = 67},
    {.version = 0x030e, .code_marks = 3, .state = 22, .frame = 31, .code = 39, .object = 50,
     .bytes = 74, .unicode = 77}};
constexpr uint64_t kCookie = 0x7970677562656478;  // "xdebugpy"

// Reads words, each of which has to be an offset within its structure.
class Words {
 public:
  explicit Words(std::span<const unsigned char> from) noexcept : from_(from) {}

  uint64_t word(size_t index) const noexcept {
    uint64_t value = 0;
    memcpy(&value, from_.data() + index * sizeof value, sizeof value);
    return value;
  }
  // An offset at which `bytes` of what is at most kMostRead large are read.
  uint16_t offset(size_t index, size_t bytes, uint64_t most = kMostRead) noexcept {
    const uint64_t value = word(index);
    if (value > most - bytes) sound_ = false;
    return static_cast<uint16_t>(value);
  }
  bool is_sound() const noexcept { return sound_; }

 private:
  std::span<const unsigned char> from_;
  bool sound_ = true;
};

uint16_t end_of(uint16_t a, uint16_t b, uint16_t c, uint16_t bytes) noexcept {
  return static_cast<uint16_t>(std::max({a, b, c}) + bytes);
}

}  // namespace

const PythonLayout* layout_of(int major, int minor) noexcept {
  if (major != 3) return nullptr;
  switch (minor) {
    case 9:
      return &k39;
    case 10:
      return &k310;
    case 11:
      return &k311;
    case 12:
      return &k312;
    default:
      return nullptr;
  }
}

bool layout_from_debug_offsets(std::span<const unsigned char> runtime,
                               PythonLayout* out) noexcept {
  if (runtime.size() < kDebugOffsetsBytes) return false;
  Words words(runtime);
  if (words.word(0) != kCookie || words.word(2) != 0) return false;
  const DebugWords* found = std::find_if(
      std::begin(kDebugWords), std::end(kDebugWords),
      [&](const DebugWords& one) { return one.version == words.word(1) >> 16; });
  if (found == std::end(kDebugWords)) return false;
  const DebugWords& at = *found;
  if (words.word(at.object + 1) != kObjectType || words.word(at.bytes + 1) != kObjectSize) {
    return false;
  }
  PythonLayout layout = k312;
  layout.through_cframe = false;
  layout.state_frame = words.offset(at.state + 4, 8, 0x7fff);
  layout.frame_previous = words.offset(at.frame + 1, 8);
  layout.frame_code = words.offset(at.frame + 2, 8);
  layout.code_marks = at.code_marks;
  layout.frame_position = words.offset(at.frame + 3, 8);
  layout.frame_owner = words.offset(at.frame + 5, 1);
  layout.frame_bytes = end_of(layout.frame_previous, layout.frame_code, layout.frame_position, 8);
  if (layout.frame_bytes <= layout.frame_owner) {
    layout.frame_bytes = static_cast<uint16_t>(layout.frame_owner + 1);
  }
  layout.code_file = words.offset(at.code + 1, 8);
  layout.code_name = words.offset(at.code + 3, 8);
  layout.code_lines = words.offset(at.code + 4, 8);
  layout.code_first_line = words.offset(at.code + 5, 4);
  layout.code_start = words.offset(at.code + 9, 0, 0x7fff);
  layout.code_bytes = end_of(layout.code_file, layout.code_name, layout.code_lines, 8);
  if (layout.code_bytes < layout.code_first_line + 4) {
    layout.code_bytes = static_cast<uint16_t>(layout.code_first_line + 4);
  }
  layout.bytes_text = words.offset(at.bytes + 2, 1);
  layout.text_state = words.offset(at.unicode + 1, 4);
  layout.text_length = words.offset(at.unicode + 2, 8);
  layout.text_ascii = words.offset(at.unicode + 3, 24);
  layout.text_compact = static_cast<uint16_t>(layout.text_ascii + 16);
  layout.code_type_bytes = layout.code_start;
  layout.frame_type_bytes = 0;
  if (!words.is_sound()) return false;
  *out = layout;
  return true;
}

bool matches(const PythonLayout& layout, int64_t code_type_bytes,
             int64_t frame_type_bytes) noexcept {
  return code_type_bytes == layout.code_type_bytes &&
         (layout.frame_type_bytes == 0 || frame_type_bytes == layout.frame_type_bytes);
}

}  // namespace oomguard::trace
