// Where CPython keeps what a stack is read from: offsets into the thread state, the frames, code
// objects and strings of one version.
//
// 3.9 to 3.12 do not say it themselves, so their offsets are written down (python_layout.cc). From
// 3.13 on the interpreter publishes them at the start of _PyRuntime. Either way `matches` compares
// the sizes that the interpreter's own types name with what the layout implies: a build that lays
// them out differently (with reference tracing, a fork of CPython) matches none and is not read.
// Thread-safety: pure functions. Callable from a hook: yes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace oomguard::trace {

enum class LineTable : uint8_t {
  kPairs,      // 3.9: co_lnotab, (bytes, lines) from one line to the next
  kRanges,     // 3.10: pairs, each of which says what line its bytes have, or none
  kLocations,  // 3.11 on
};

enum class FrameForm : uint8_t {
  kObjects,      // 3.9, 3.10: frames are objects, linked by f_back
  kEntryMark,    // 3.11: the frame says whether it entered the evaluation loop
  kEntryFrames,  // 3.12 on: a frame of the interpreter's own stands below each such frame
};

// How the frame says where it is.
enum class Position : uint8_t { kBytes, kUnits, kPointer };

// Offsets and sizes in bytes.
struct PythonLayout {
  FrameForm form;
  Position position;
  LineTable line_table;
  bool through_cframe;     // 3.11, 3.12: the thread state names the loop's record, that the frame
  uint16_t state_frame;    // in the thread state: the innermost frame, or that record
  uint16_t cframe_frame;   // in that record: the innermost frame
  uint16_t frame_bytes;    // of a frame: all that is read
  uint16_t frame_previous;
  uint16_t frame_code;
  uint16_t code_marks;     // bits that are no part of the pointer to the code object (3.14)
  uint16_t frame_position;
  uint16_t frame_owner;    // kEntryFrames
  uint16_t frame_entry;    // kEntryMark
  uint16_t code_bytes;     // of a code object: all that is read, without its instructions
  uint16_t code_file;
  uint16_t code_name;      // the qualified one where there is one (3.11 on)
  uint16_t code_lines;
  uint16_t code_first_line;
  uint16_t code_start;     // of the instructions; kPointer
  uint16_t text_length;
  uint16_t text_state;
  uint16_t text_ascii;     // header of an ASCII string
  uint16_t text_compact;   // header of any other string that has its characters behind it
  uint16_t bytes_size;
  uint16_t bytes_text;
  uint16_t code_type_bytes;   // what PyCode_Type says about the size of its objects
  uint16_t frame_type_bytes;  // the same of PyFrame_Type; 0 unknown
};

inline constexpr uint16_t kObjectType = 8;   // PyObject.ob_type
inline constexpr uint16_t kObjectSize = 16;  // PyVarObject.ob_size
inline constexpr uint16_t kMostRead = 256;   // no frame or code object is read further than this

// The layout of 3.9, 3.10, 3.11 and 3.12; null for others.
const PythonLayout* layout_of(int major, int minor) noexcept;

// From the start of _PyRuntime, 3.13 and 3.14: as many bytes as kDebugOffsetsBytes. False: another
// version, a build without the GIL (another thread may change what is read), or nothing sensible.
inline constexpr size_t kDebugOffsetsBytes = 656;
[[nodiscard]] bool layout_from_debug_offsets(std::span<const unsigned char> runtime,
                                             PythonLayout* out) noexcept;

// Whether the sizes that PyCode_Type and PyFrame_Type give are those of the layout.
[[nodiscard]] bool matches(const PythonLayout& layout, int64_t code_type_bytes,
                           int64_t frame_type_bytes) noexcept;

}  // namespace oomguard::trace
