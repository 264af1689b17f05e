#include "shim/trace/python_stack.h"

#include <string.h>

#include <atomic>

#include "collector/probe/syscall.h"
#include "shim/core/dl.h"
#include "shim/trace/location_table.h"
#include "shim/trace/python_layout.h"
#include "shim/trace/python_memory.h"
#include "shim/trace/python_text.h"

namespace oomguard::trace {
namespace {

constexpr int64_t kLongestWaitNs = 100'000'000;
constexpr uint16_t kTypeBasicSize = 32;  // PyTypeObject.tp_basicsize
constexpr uint64_t kLongestCode = uint64_t{1} << 31;
constexpr uint64_t kLongestTable = uint64_t{1} << 24;
constexpr uint64_t kTrampolineUnits = 4;  // 3.12, 3.13: _Py_InitCleanup is not longer
constexpr uint8_t kEntryOwner = 3;        // a frame of the interpreter's own (FRAME_OWNED_BY_...)
constexpr uint8_t kMostOwner = 4;

struct Interpreter {
  PythonLayout layout;
  uintptr_t code_type;
  void* (*this_state)();     // of this thread, whoever holds the GIL
  void* (*current_state)();  // of who holds the GIL
  int (*is_initialized)();
};

constinit Interpreter g_python{};
constinit std::atomic<bool> g_found{false};  // g_python is written before it
// Who reads without the GIL counts itself, then looks at g_ending; who ends sets that, then looks
// at the count (sequentially consistent, all four).
constinit std::atomic<bool> g_ending{false};
constinit std::atomic<uint32_t> g_readers{0};

template <typename T>
bool find(const char* name, T* out) noexcept {
  void* symbol = dlsym(RTLD_DEFAULT, name);
  *out = reinterpret_cast<T>(symbol);
  return symbol != nullptr;
}

// "3.11.2 (main, ...": 3 and 11.
bool parse_version(const char* text, int* major, int* minor) noexcept {
  const auto number = [&text](int* out) {
    const char* start = text;
    for (*out = 0; *text >= '0' && *text <= '9' && text - start < 4; ++text) {
      *out = *out * 10 + (*text - '0');
    }
    return text != start;
  };
  return number(major) && *text++ == '.' && number(minor);
}

bool find_layout(PythonLayout* out) noexcept {
  const char* (*version)();
  int major;
  int minor;
  if (!find("Py_GetVersion", &version) || !parse_version(version(), &major, &minor)) return false;
  if (const PythonLayout* known = layout_of(major, minor); known != nullptr) {
    *out = *known;
    return true;
  }
  const unsigned char* runtime;
  unsigned char words[kDebugOffsetsBytes];
  return find("_PyRuntime", &runtime) && sys::copy_bytes(runtime, words, sizeof words) &&
         layout_from_debug_offsets(words, out);
}

// A type of the interpreter's, whose own type stands where it should.
bool read_type(const char* name, uintptr_t* address, int64_t* object_bytes) noexcept {
  PythonMemory memory(true);
  uintptr_t meta_type;
  uintptr_t type_of_it;
  return find(name, address) && find("PyType_Type", &meta_type) &&
         memory.read(*address + kObjectType, &type_of_it) && type_of_it == meta_type &&
         memory.read(*address + kTypeBasicSize, object_bytes);
}

// This thread's state, and the way in which what belongs to it may be read.
class Reading {
 public:
  Reading() noexcept {
    if (!g_found.load(std::memory_order_acquire)) return;
    void* state = g_python.this_state();
    if (state == nullptr) return;
    state_ = reinterpret_cast<uintptr_t>(state);
    if (g_python.current_state() == state) {
      guarded_ = false;
      return;
    }
    counted_ = true;
    g_readers.fetch_add(1);
    guarded_ = g_ending.load() || g_python.is_initialized() == 0;
  }
  ~Reading() {
    if (counted_) g_readers.fetch_sub(1);
  }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;

  uintptr_t state() const noexcept { return state_; }  // 0: none
  bool guarded() const noexcept { return guarded_; }

 private:
  uintptr_t state_ = 0;
  bool guarded_ = true;
  bool counted_ = false;
};

uintptr_t innermost(PythonMemory* memory, uintptr_t state) noexcept {
  const PythonLayout& layout = g_python.layout;
  uintptr_t frame;
  if (!memory->read(state + layout.state_frame, &frame)) return 0;
  if (!layout.through_cframe) return frame;
  const uintptr_t cframe = frame;
  return memory->read(cframe + layout.cframe_frame, &frame) ? frame : 0;
}

// What is read of one frame.
struct Frame {
  uintptr_t previous;
  uintptr_t code;
  uint64_t position;
  uint8_t owner;
  bool entry;
};

bool read_frame(PythonMemory* memory, uintptr_t address, Frame* out) noexcept {
  const PythonLayout& layout = g_python.layout;
  if (address % sizeof(uintptr_t) != 0) return false;
  const unsigned char* bytes = memory->view(address, layout.frame_bytes);
  if (bytes == nullptr) return false;
  out->previous = value_at<uintptr_t>(bytes, layout.frame_previous);
  out->code = value_at<uintptr_t>(bytes, layout.frame_code);
  out->owner = 0;
  out->entry = layout.form == FrameForm::kObjects;
  if (layout.position == Position::kPointer) {
    out->position = value_at<uint64_t>(bytes, layout.frame_position);
  } else {  // an index, -1 before the first instruction
    const auto index = value_at<int32_t>(bytes, layout.frame_position);
    const auto positive = static_cast<uint64_t>(index < 0 ? 0 : index);
    out->position = layout.position == Position::kUnits ? positive * 2 : positive;
  }
  if (layout.form == FrameForm::kEntryMark) out->entry = bytes[layout.frame_entry] != 0;
  if (layout.form == FrameForm::kEntryFrames) {
    out->owner = bytes[layout.frame_owner];
    out->code &= ~uintptr_t{layout.code_marks};
  }
  return true;
}

// Its type and, from 3.11 on, its length in code units.
bool is_code(PythonMemory* memory, uintptr_t address, uint64_t* units) noexcept {
  if (address % sizeof(uintptr_t) != 0) return false;
  const unsigned char* head = memory->view(address, kObjectSize + sizeof *units);
  if (head == nullptr || value_at<uintptr_t>(head, kObjectType) != g_python.code_type) return false;
  *units = value_at<uint64_t>(head, kObjectSize);
  return true;
}

// 3.12 and 3.13 put a frame of their own between a class that is called and its __init__, with a
// code object whose file and name are one string. Tracebacks leave it out too.
bool is_trampoline(PythonMemory* memory, uintptr_t code, uint64_t units) noexcept {
  const PythonLayout& layout = g_python.layout;
  if (layout.form != FrameForm::kEntryFrames || units > kTrampolineUnits) return false;
  const unsigned char* bytes = memory->view(code, layout.code_bytes);
  return bytes != nullptr && value_at<uintptr_t>(bytes, layout.code_file) ==
                                 value_at<uintptr_t>(bytes, layout.code_name);
}

uint32_t instruction_of(const Frame& frame, uint64_t units) noexcept {
  if (g_python.layout.position != Position::kPointer) {
    return frame.position < kLongestCode ? static_cast<uint32_t>(frame.position) : 0;
  }
  // Before the first instruction of a new frame it may point anywhere.
  const uint64_t bytes = frame.position - (frame.code + g_python.layout.code_start);
  return units < kLongestCode && bytes < units * 2 ? static_cast<uint32_t>(bytes) : 0;
}

size_t walk(PythonMemory* memory, uintptr_t state, RawFrame* out, size_t capacity) noexcept {
  const bool entry_frames = g_python.layout.form == FrameForm::kEntryFrames;
  size_t count = 0;
  uintptr_t address = innermost(memory, state);
  // A frame, an entry frame and a trampoline for each, at most: a circle ends.
  for (size_t steps = 3 * capacity + 3; address != 0 && steps > 0; --steps) {
    Frame frame;
    if (!read_frame(memory, address, &frame) || frame.owner > kMostOwner) break;
    address = frame.previous;
    if (entry_frames && frame.owner >= kEntryOwner) {
      if (frame.owner == kEntryOwner && count > 0) out[count - 1].entry = true;
      continue;
    }
    if (count == capacity) break;
    uint64_t units;
    if (!is_code(memory, frame.code, &units)) break;
    if (is_trampoline(memory, frame.code, units)) continue;
    out[count++] = {frame.code, instruction_of(frame, units), frame.entry};
  }
  return count;
}

// Values in their order; the products do not wait for each other.
class Digest {
 public:
  void add(uint64_t value) noexcept {
    place_ += 0x9e3779b97f4a7c15;
    const unsigned __int128 product =
        static_cast<unsigned __int128>(value ^ place_) * 0xd6e8feb86659fd93;
    sum_ += static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }
  // The length and the last bytes of what lies there, at most `most`.
  void add_end(PythonMemory* memory, uintptr_t start, uint64_t bytes, size_t most) noexcept {
    add(bytes);
    const size_t taken = bytes < most ? bytes : most;
    const unsigned char* at = taken != 0 ? memory->view(start + bytes - taken, taken) : nullptr;
    if (at == nullptr) return;
    if (taken < 8) {
      uint64_t all = 0;
      for (size_t i = 0; i < taken; ++i) all = all << 8 | at[i];
      add(all);
      return;
    }
    for (size_t i = 0; i + 8 < taken; i += 8) add(value_at<uint64_t>(at, i));
    add(value_at<uint64_t>(at, taken - 8));
  }
  void add_text(PythonMemory* memory, uintptr_t object, size_t most) noexcept {
    PythonText text;
    if (!find_text(memory, g_python.layout, object, &text)) return;
    add_end(memory, text.characters, text.length * text.width, most);
  }
  uint64_t value() const noexcept {
    const uint64_t mixed = (sum_ ^ sum_ >> 32) * 0xd6e8feb86659fd93;
    return (mixed ^ mixed >> 32) | 1;  // not 0
  }

 private:
  uint64_t place_ = 0;
  uint64_t sum_ = 0;
};

// 0: no code object.
uint64_t identity_of(PythonMemory* memory, uintptr_t code) noexcept {
  const PythonLayout& layout = g_python.layout;
  uint64_t units;
  if (!is_code(memory, code, &units)) return 0;
  const unsigned char* bytes = memory->view(code, layout.code_bytes);
  if (bytes == nullptr) return 0;
  const auto file = value_at<uintptr_t>(bytes, layout.code_file);
  const auto name = value_at<uintptr_t>(bytes, layout.code_name);
  const auto lines = value_at<uintptr_t>(bytes, layout.code_lines);
  Digest digest;
  digest.add(value_at<uint32_t>(bytes, layout.code_first_line));
  digest.add(units);
  digest.add(file);
  digest.add(name);
  digest.add(lines);
  digest.add_text(memory, file, 32);
  digest.add_text(memory, name, 16);
  uint64_t table_bytes;
  if (memory->read(lines + layout.bytes_size, &table_bytes) && table_bytes < kLongestTable) {
    digest.add_end(memory, lines + layout.bytes_text, table_bytes, 16);
  }
  return digest.value();
}

// What identity_of reads lies in some eight lines of memory for each frame, which a program that
// works on its data between two samples has pushed out of the processor's caches: they come at
// once, not one after the other. (A fetch ahead of what is not there does nothing.)
void fetch_ahead(PythonMemory* memory, const RawFrame* frames, size_t count) noexcept {
  const PythonLayout& layout = g_python.layout;
  constexpr uintptr_t kLine = 64;
  const auto fetch = [](uintptr_t at) { __builtin_prefetch(reinterpret_cast<const void*>(at)); };
  for (size_t i = 0; i < count; ++i) {
    fetch(frames[i].code + layout.code_file);
    fetch(frames[i].code + layout.code_lines);
  }
  for (size_t i = 0; i < count; ++i) {
    const unsigned char* bytes = memory->view(frames[i].code, layout.code_bytes);
    if (bytes == nullptr) continue;
    const auto file = value_at<uintptr_t>(bytes, layout.code_file);
    fetch(file);
    fetch(file + kLine);
    fetch(value_at<uintptr_t>(bytes, layout.code_name));
    fetch(value_at<uintptr_t>(bytes, layout.code_lines));
  }
}

// A line table's bytes, one after the other.
class TableBytes {
 public:
  TableBytes(PythonMemory* memory, uintptr_t object) noexcept : memory_(memory) {
    const PythonLayout& layout = g_python.layout;
    uint64_t size;
    if (!memory->read(object + layout.bytes_size, &size) || size > kLongestTable) return;
    at_ = object + layout.bytes_text;
    end_ = at_ + size;
  }
  bool next(uint8_t* out) noexcept { return at_ != end_ && memory_->read(at_++, out); }

 private:
  PythonMemory* memory_;
  uintptr_t at_ = 0;
  uintptr_t end_ = 0;
};

}  // namespace

bool find_python() noexcept {
  int64_t code_bytes;
  int64_t frame_bytes;
  uintptr_t frame_type;
  const bool found =
      find("PyGILState_GetThisThreadState", &g_python.this_state) &&
      (find("_PyThreadState_UncheckedGet", &g_python.current_state) ||
       find("PyThreadState_GetUnchecked", &g_python.current_state)) &&
      find("Py_IsInitialized", &g_python.is_initialized) && find_layout(&g_python.layout) &&
      read_type("PyCode_Type", &g_python.code_type, &code_bytes) &&
      read_type("PyFrame_Type", &frame_type, &frame_bytes) &&
      matches(g_python.layout, code_bytes, frame_bytes);
  g_found.store(found, std::memory_order_release);
  return found;
}

size_t read_python_stack(RawFrame* out, size_t capacity) noexcept {
  const Reading reading;
  if (reading.state() == 0 || capacity == 0) return 0;
  PythonMemory memory(reading.guarded());
  return walk(&memory, reading.state(), out, capacity);
}

void code_identities(const RawFrame* frames, size_t count, uint64_t* out) noexcept {
  if (!g_found.load(std::memory_order_acquire)) {
    memset(out, 0, count * sizeof *out);
    return;
  }
  const Reading reading;
  PythonMemory memory(reading.guarded());
  if (!reading.guarded()) fetch_ahead(&memory, frames, count);
  for (size_t i = 0; i < count; ++i) out[i] = identity_of(&memory, frames[i].code);
}

bool describe(const RawFrame& frame, CodeText* out) noexcept {
  *out->file = *out->function = '\0';
  out->line = out->first_line = 0;
  if (!g_found.load(std::memory_order_acquire)) return false;
  const PythonLayout& layout = g_python.layout;
  const Reading reading;
  PythonMemory memory(reading.guarded());
  uint64_t units;
  if (!is_code(&memory, frame.code, &units)) return false;
  const unsigned char* bytes = memory.view(frame.code, layout.code_bytes);
  if (bytes == nullptr) return false;
  const auto file = value_at<uintptr_t>(bytes, layout.code_file);
  const auto name = value_at<uintptr_t>(bytes, layout.code_name);
  const auto lines = value_at<uintptr_t>(bytes, layout.code_lines);
  out->first_line = value_at<int32_t>(bytes, layout.code_first_line);
  PythonText text;
  // A name that is not readable is left empty: the rest still says something.
  if (find_text(&memory, layout, file, &text)) {
    (void)copy_text(&memory, text, out->file, sizeof out->file);
  }
  if (find_text(&memory, layout, name, &text)) {
    (void)copy_text(&memory, text, out->function, sizeof out->function);
  }
  TableBytes table(&memory, lines);
  out->line = line_in_table(
      layout.line_table, [&table](uint8_t* byte) { return table.next(byte); }, out->first_line,
      frame.instruction_bytes);
  return true;
}

void python_is_ending() noexcept {
  g_ending.store(true);
  const int64_t start = sys::monotonic_ns();
  while (g_readers.load() != 0 && sys::monotonic_ns() - start < kLongestWaitNs) {
    sys::call(SYS_sched_yield);
  }
}

void forget_python_readers() noexcept { g_readers.store(0); }

}  // namespace oomguard::trace
