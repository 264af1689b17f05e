// The walk over an interpreter that is made here: this program exports the few symbols that are
// looked up, and lays frames, code objects and strings out as the version has them. So they can be
// damaged.
#include "shim/trace/python_stack.h"

#include <gtest/gtest.h>
#include <string.h>
#include <sys/mman.h>

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "shim/trace/python_layout.h"
#include "tests/shim/trace/debug_offsets.h"

#define EXPORT extern "C" [[gnu::visibility("default")]]

namespace {

using namespace oomguard::trace;

const char* g_version = "3.12.1";
thread_local void* t_state = nullptr;
void* g_holder = nullptr;
int g_initialized = 1;

}  // namespace

EXPORT const char* Py_GetVersion() { return g_version; }
EXPORT int Py_IsInitialized() { return g_initialized; }
EXPORT void* PyGILState_GetThisThreadState() { return t_state; }
EXPORT void* _PyThreadState_UncheckedGet() { return g_holder; }
EXPORT uint64_t PyType_Type[64];
EXPORT uint64_t PyCode_Type[64];
EXPORT uint64_t PyFrame_Type[64];
EXPORT uint64_t _PyRuntime[kDebugOffsetsBytes / 8];
uint64_t PyType_Type[64];
uint64_t PyCode_Type[64];
uint64_t PyFrame_Type[64];
uint64_t _PyRuntime[kDebugOffsetsBytes / 8];

namespace {

constexpr size_t kArena = 32768;
constexpr int kFrames = 12;
constexpr int kFirstLine = 7;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// 64 bits of xorshift.
uint64_t next_random(uint64_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  return *state ^= *state << 17;
}

// Lays objects out one after the other. An address is a place in `memory`.
class FakePython {
 public:
  explicit FakePython(int minor) : minor_(minor) {
    if (minor < 13) {
      layout_ = *layout_of(3, minor);
    } else {
      const Offsets words = minor == 13 ? of_313() : of_314();
      memcpy(_PyRuntime, words.data(), sizeof words);
      EXPECT_TRUE(layout_from_debug_offsets(
          {reinterpret_cast<const unsigned char*>(words.data()), sizeof words}, &layout_));
    }
    version_ = "3." + std::to_string(minor) + ".1 (made here)";
    g_version = version_.c_str();
    set_type_sizes(layout_.code_type_bytes, layout_.frame_type_bytes);
    memory_ = static_cast<unsigned char*>(mmap(nullptr, kArena, PROT_READ | PROT_WRITE,
                                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    build();
  }
  ~FakePython() {
    // The memory stays: its pages count as readable from now on (python_memory.h).
    t_state = g_holder = nullptr;
    g_initialized = 1;
  }
  FakePython(const FakePython&) = delete;
  FakePython& operator=(const FakePython&) = delete;

  static void set_type_sizes(uint64_t code, uint64_t frame) {
    PyCode_Type[1] = PyFrame_Type[1] = reinterpret_cast<uint64_t>(PyType_Type);
    PyCode_Type[4] = code;
    PyFrame_Type[4] = frame;
  }

  const PythonLayout& layout() const { return layout_; }
  uintptr_t state() const { return state_; }
  const std::vector<uintptr_t>& frames() const { return frames_; }  // outermost first
  const std::vector<uintptr_t>& codes() const { return codes_; }
  unsigned char* memory() const { return memory_; }
  size_t used() const { return used_; }

  template <typename T>
  static void put(uintptr_t address, T value) {
    memcpy(reinterpret_cast<void*>(address), &value, sizeof value);
  }

 private:
  uintptr_t take(size_t size) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(memory_) + used_;
    used_ += (size + 15) / 16 * 16;
    EXPECT_LE(used_, kArena);
    return at;
  }

  uintptr_t make_text(const std::string& text) {
    const uintptr_t at = take(layout_.text_ascii + text.size() + 1);
    put(at + layout_.text_length, uint64_t{text.size()});
    put(at + layout_.text_state, uint32_t{1 << 2 | 0x20 | 0x40});
    memcpy(reinterpret_cast<char*>(at) + layout_.text_ascii, text.data(), text.size());
    return at;
  }

  uintptr_t make_code(int number) {
    const uintptr_t at = take(layout_.code_type_bytes + 32u);
    put(at + kObjectType, reinterpret_cast<uintptr_t>(PyCode_Type));
    if (layout_.position == Position::kPointer) put(at + kObjectSize, uint64_t{10});
    // Ten units of one line each, two of them below the first.
    std::string table;
    switch (layout_.line_table) {
      case LineTable::kPairs:
        table = {0, 2, 100, 1};
        break;
      case LineTable::kRanges:
        table = {100, 2};
        break;
      case LineTable::kLocations:
        table = {static_cast<char>(0x80 | 12 << 3 | 7), 0, 0};
        break;
    }
    const uintptr_t lines = take(layout_.bytes_text + table.size() + 1u);
    put(lines + layout_.bytes_size, uint64_t{table.size()});
    memcpy(reinterpret_cast<char*>(lines) + layout_.bytes_text, table.data(), table.size());
    put(at + layout_.code_file, make_text("file" + std::to_string(number) + ".py"));
    put(at + layout_.code_name, make_text("function" + std::to_string(number)));
    put(at + layout_.code_lines, lines);
    put(at + layout_.code_first_line, kFirstLine + number);
    return at;
  }

  uintptr_t make_frame(uintptr_t previous, uintptr_t code, uint8_t owner) {
    const uintptr_t at = take(layout_.frame_bytes);
    put(at + layout_.frame_previous, previous);
    put(at + layout_.frame_code, code | (layout_.code_marks & 1));
    if (layout_.position == Position::kPointer) {
      put(at + layout_.frame_position, code + layout_.code_start + 4);
    } else {
      put(at + layout_.frame_position, int32_t{layout_.position == Position::kUnits ? 2 : 4});
    }
    if (layout_.form == FrameForm::kEntryFrames) put(at + layout_.frame_owner, owner);
    return at;
  }

  // Every third frame is the outermost one of its loop.
  void build() {
    state_ = take(layout_.state_frame + 8u);
    uintptr_t top = 0;
    for (int i = 0; i < kFrames; ++i) {
      codes_.push_back(make_code(i));
      if (i % 3 == 0 && layout_.form == FrameForm::kEntryFrames) top = make_frame(top, 0, 3);
      top = make_frame(top, codes_.back(), i % 5 == 4);
      frames_.push_back(top);
      if (layout_.form == FrameForm::kEntryMark) {
        put(top + layout_.frame_entry, static_cast<uint8_t>(i % 3 == 0));
      }
    }
    if (layout_.through_cframe) {
      const uintptr_t cframe = take(16);
      put(cframe + layout_.cframe_frame, top);
      top = cframe;
    }
    put(state_ + layout_.state_frame, top);
    t_state = reinterpret_cast<void*>(state_);
    g_holder = t_state;
  }

  int minor_;
  PythonLayout layout_;
  std::string version_;
  unsigned char* memory_;
  size_t used_ = 0;
  uintptr_t state_ = 0;
  std::vector<uintptr_t> frames_;
  std::vector<uintptr_t> codes_;
};

class PythonStackOfEach : public testing::TestWithParam<int> {};

void expect_all_frames(const FakePython& python) {
  RawFrame frames[kFrames + 4];
  ASSERT_EQ(read_python_stack(frames, kFrames + 4), size_t{kFrames});
  for (int i = 0; i < kFrames; ++i) {
    const int number = kFrames - 1 - i;
    EXPECT_EQ(frames[i].code, python.codes()[number]);
    EXPECT_EQ(frames[i].instruction_bytes, 4u);
    EXPECT_EQ(frames[i].entry, python.layout().form == FrameForm::kObjects || number % 3 == 0) << i;
    CodeText text;
    ASSERT_TRUE(describe(frames[i], &text));
    EXPECT_EQ(text.file, "file" + std::to_string(number) + ".py");
    EXPECT_EQ(text.function, "function" + std::to_string(number));
    EXPECT_EQ(text.first_line, kFirstLine + number);
    EXPECT_EQ(text.line, kFirstLine + number + 2);
  }
}

TEST_P(PythonStackOfEach, IsReadDirectly) {
  FakePython python(GetParam());
  ASSERT_TRUE(find_python());
  expect_all_frames(python);
  g_holder = nullptr;  // without the GIL
  expect_all_frames(python);
}

TEST_P(PythonStackOfEach, IsReadThroughTheKernelAtTheEnd) {
  FakePython python(GetParam());
  ASSERT_TRUE(find_python());
  g_holder = nullptr;
  g_initialized = 0;
  expect_all_frames(python);
}

TEST_P(PythonStackOfEach, IsCutAtItsCapacity) {
  FakePython python(GetParam());
  ASSERT_TRUE(find_python());
  RawFrame frames[kFrames];
  for (size_t capacity = 0; capacity < size_t{kFrames}; ++capacity) {
    ASSERT_EQ(read_python_stack(frames, capacity), capacity);
    if (capacity == 0) continue;
    EXPECT_EQ(frames[capacity - 1].entry, python.layout().form == FrameForm::kObjects ||
                                              (kFrames - capacity) % 3 == 0);
  }
}

TEST_P(PythonStackOfEach, OfAnotherThreadIsNone) {
  FakePython python(GetParam());
  ASSERT_TRUE(find_python());
  size_t count = 1;
  std::thread([&] {
    RawFrame frame;
    count = read_python_stack(&frame, 1);
  }).join();
  EXPECT_EQ(count, 0u);
}

TEST_P(PythonStackOfEach, EndsWhereItIsACircle) {
  FakePython python(GetParam());
  ASSERT_TRUE(find_python());
  FakePython::put(python.frames()[0] + python.layout().frame_previous, python.frames().back());
  RawFrame frames[100];
  EXPECT_EQ(read_python_stack(frames, 100), 100u);
  // One without any frame of Python's.
  if (python.layout().form != FrameForm::kEntryFrames) return;
  FakePython::put(python.frames().back() + python.layout().frame_owner, uint8_t{3});
  FakePython::put(python.frames().back() + python.layout().frame_previous, python.frames().back());
  EXPECT_EQ(read_python_stack(frames, 100), 0u);
}

uint64_t identity_of(uintptr_t code) {
  const RawFrame frame{code, 0, false};
  uint64_t identity = 1;
  code_identities(&frame, 1, &identity);
  return identity;
}

TEST_P(PythonStackOfEach, EndsAtAWrongPointer) {
  for (const uintptr_t address : {uintptr_t{8}, ~uintptr_t{7}, uintptr_t{0x123456789000},
                                  uintptr_t{1} << 63, uintptr_t{0}}) {
    FakePython python(GetParam());
    ASSERT_TRUE(find_python());
    const uintptr_t wrong = address != 0 ? address : python.codes()[0] + 4;
    RawFrame frames[kFrames];
    FakePython::put(python.frames()[5] + python.layout().frame_previous, wrong);
    EXPECT_EQ(read_python_stack(frames, kFrames), size_t{kFrames - 5});
    FakePython::put(python.frames()[8] + python.layout().frame_code, wrong);
    EXPECT_EQ(read_python_stack(frames, kFrames), size_t{kFrames - 9});
    EXPECT_EQ(identity_of(wrong), 0u);
    CodeText text;
    EXPECT_FALSE(describe({wrong, 0, false}, &text));
    FakePython::put(python.state() + python.layout().state_frame, wrong);
    EXPECT_EQ(read_python_stack(frames, kFrames), 0u);
  }
}

TEST_P(PythonStackOfEach, SurvivesDamage) {
  FakePython python(GetParam());
  ASSERT_TRUE(find_python());
  auto* barred = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const std::string sound(reinterpret_cast<char*>(python.memory()), python.used());
  uint64_t random = 88172645463325252;
  for (int round = 0; round < 4000; ++round) {
    memcpy(python.memory(), sound.data(), sound.size());
    for (uint64_t i = next_random(&random) % 8; i < 8; ++i) {
      const size_t at = next_random(&random) % python.used() / 8 * 8;
      const uint64_t value = next_random(&random);
      const uintptr_t word = reinterpret_cast<uintptr_t>(python.memory()) + at;
      switch (random >> 60) {
        case 0:
          FakePython::put(word, reinterpret_cast<uint64_t>(barred) + value % 4096 / 8 * 8);
          break;
        case 1:
          FakePython::put(word, value);
          break;
        case 2:
          FakePython::put(word, value % 512);
          break;
        case 3:
          FakePython::put(word + value % 8, static_cast<uint8_t>(value >> 32));
          break;
        default:  // another place in the same memory
          FakePython::put(word,
                          reinterpret_cast<uint64_t>(python.memory()) + value % kArena / 8 * 8);
      }
    }
    // The sanitizer's own memory can be read, but not by code that it checks: the kernel reads.
    g_holder = !kSanitized && round % 2 == 0 ? t_state : nullptr;
    g_initialized = !kSanitized && round % 3 != 0;
    RawFrame frames[kFrames + 4];
    const size_t count = read_python_stack(frames, kFrames + 4);
    ASSERT_LE(count, size_t{kFrames + 4});
    uint64_t identities[kFrames + 4];
    code_identities(frames, count, identities);
    for (size_t i = 0; i < count; ++i) {
      CodeText text;
      if (!describe(frames[i], &text)) continue;
      ASSERT_LT(strnlen(text.file, sizeof text.file), sizeof text.file);
      ASSERT_LT(strnlen(text.function, sizeof text.function), sizeof text.function);
      ASSERT_GE(text.line, 0);
    }
  }
  munmap(barred, 4096);
}

INSTANTIATE_TEST_SUITE_P(PythonStack, PythonStackOfEach, testing::Values(9, 10, 11, 12, 13, 14));

TEST(PythonStack, IsNotReadFromALayoutThatIsAnother) {
  RawFrame frame;
  {
    FakePython python(11);
    FakePython::set_type_sizes(200, 120);
    EXPECT_FALSE(find_python());
    EXPECT_EQ(read_python_stack(&frame, 1), 0u);
    EXPECT_EQ(identity_of(python.codes()[0]), 0u);
    CodeText text;
    EXPECT_FALSE(describe({python.codes()[0], 0, false}, &text));
  }
  for (const char* version : {"3.8.18", "3.15.0", "2.7.18", "", "3", "3.", "x.9", "99999.9"}) {
    FakePython python(12);
    g_version = version;
    EXPECT_FALSE(find_python()) << version;
    EXPECT_EQ(read_python_stack(&frame, 1), 0u);
  }
  FakePython python(13);
  _PyRuntime[2] = 1;  // free-threaded
  EXPECT_FALSE(find_python());
  EXPECT_EQ(read_python_stack(&frame, 1), 0u);
}

TEST(PythonStack, LeavesTheTrampolineOut) {
  for (const int minor : {12, 13}) {
    FakePython python(minor);
    ASSERT_TRUE(find_python());
    const PythonLayout& layout = python.layout();
    const uintptr_t code = python.codes()[10];
    uintptr_t file;
    memcpy(&file, reinterpret_cast<const void*>(code + layout.code_file), sizeof file);
    FakePython::put(code + kObjectSize, uint64_t{4});
    FakePython::put(code + layout.code_name, file);
    RawFrame frames[kFrames];
    ASSERT_EQ(read_python_stack(frames, kFrames), size_t{kFrames - 1});
    EXPECT_EQ(frames[0].code, python.codes()[11]);
    EXPECT_EQ(frames[1].code, python.codes()[9]);
  }
}

TEST(PythonStack, IsReadThroughTheKernelOnceItsEndIsTold) {
  FakePython python(12);
  ASSERT_TRUE(find_python());
  g_holder = nullptr;
  python_is_ending();
  expect_all_frames(python);
  forget_python_readers();
  expect_all_frames(python);
}

}  // namespace
