#include "shim/trace/python_text.h"

#include <gtest/gtest.h>
#include <string.h>
#include <sys/mman.h>

#include <cstdint>
#include <string>
#include <vector>

namespace oomguard::trace {
namespace {

constexpr uint32_t kCompact = 0x20;
constexpr uint32_t kAscii = 0x40;

// A string object as an interpreter would have it.
class TextObject {
 public:
  TextObject(const PythonLayout& layout, const std::u32string& text, uint32_t width, bool ascii)
      : bytes_(layout.text_compact + (text.size() + 1) * width) {
    put(layout.text_length, static_cast<uint64_t>(text.size()));
    put(layout.text_state, width << 2 | kCompact | (ascii ? kAscii : 0));
    const size_t start = ascii ? layout.text_ascii : layout.text_compact;
    for (size_t i = 0; i < text.size(); ++i) {
      memcpy(&bytes_[start + i * width], &text[i], width);  // least byte first
    }
  }
  template <typename T>
  void put(size_t offset, T value) {
    memcpy(&bytes_[offset], &value, sizeof value);
  }
  uintptr_t address() const { return reinterpret_cast<uintptr_t>(bytes_.data()); }

 private:
  std::vector<unsigned char> bytes_;
};

class PythonTextOfEach : public testing::TestWithParam<int> {
 protected:
  const PythonLayout& layout() { return *layout_of(3, GetParam()); }

  // "(none)": it is not taken for a string, or cannot be read.
  std::string copied(const TextObject& object, size_t capacity = 512) {
    return copied(object.address(), capacity);
  }
  std::string copied(uintptr_t object, size_t capacity = 512) {
    PythonMemory memory(true);
    PythonText text;
    std::vector<char> out(capacity);
    if (!find_text(&memory, layout(), object, &text)) return "(none)";
    if (!copy_text(&memory, text, out.data(), capacity)) return "(none)";
    return out.data();
  }
};

TEST_P(PythonTextOfEach, BecomesUtf8) {
  EXPECT_EQ(copied({layout(), U"/home/a/b.py", 1, true}), "/home/a/b.py");
  EXPECT_EQ(copied({layout(), U"", 1, true}), "");
  EXPECT_EQ(copied({layout(), U"gr\u00fc\u00df.py", 1, false}), "gr\xc3\xbc\xc3\x9f.py");
  EXPECT_EQ(copied({layout(), U"\u65e5\u672c.py", 2, false}), "\xe6\x97\xa5\xe6\x9c\xac.py");
  EXPECT_EQ(copied({layout(), U"\U0001f40d.py", 4, false}), "\xf0\x9f\x90\x8d.py");
}

TEST_P(PythonTextOfEach, HasNoSurrogatesAndNoNul) {
  // A file name's byte 0xff, as surrogateescape keeps it.
  std::u32string name = U"a?b";
  name[1] = 0xdcff;
  EXPECT_EQ(copied({layout(), name, 2, false}), "a\xef\xbf\xbd" "b");
  name[1] = 0;
  EXPECT_EQ(copied({layout(), name, 1, true}), "a\xef\xbf\xbd" "b");
  name[1] = 0x110000;
  EXPECT_EQ(copied({layout(), name, 4, false}), "a\xef\xbf\xbd" "b");
}

TEST_P(PythonTextOfEach, KeepsTheEndOfALongOne) {
  EXPECT_EQ(copied({layout(), U"abcdefgh", 1, true}, 9), "abcdefgh");
  EXPECT_EQ(copied({layout(), U"abcdefgh", 1, true}, 8), "...efgh");
  EXPECT_EQ(copied({layout(), U"\u00e4\u00e4\u00e4\u00e4", 1, false}, 8),
            "...\xc3\xa4\xc3\xa4");
  const std::u32string path = std::u32string(3000, U'\U0001f40d') + U".py";
  const std::string end = copied({layout(), path, 4, false});
  EXPECT_EQ(end.size(), 3 + 126 * 4 + 3u);  // 511 hold no more whole characters
  EXPECT_EQ(end.substr(0, 7), "...\xf0\x9f\x90\x8d");
  EXPECT_EQ(end.substr(end.size() - 7), "\xf0\x9f\x90\x8d.py");
}

TEST_P(PythonTextOfEach, FollowsAnObjectThatHasItsCharactersElsewhere) {
  const char elsewhere[] = "elsewhere.py";
  TextObject object(layout(), U"            ", 1, false);
  object.put(layout().text_state, uint32_t{1} << 2);
  object.put(layout().text_compact, reinterpret_cast<uintptr_t>(elsewhere));
  EXPECT_EQ(copied(object), "elsewhere.py");
  object.put(layout().text_compact, uintptr_t{0x123450000});
  EXPECT_EQ(copied(object), "(none)");
}

TEST_P(PythonTextOfEach, IsNoneWhereTheHeaderIsWrong) {
  TextObject object(layout(), U"abc", 1, true);
  object.put(layout().text_length, ~uint64_t{0});
  EXPECT_EQ(copied(object), "(none)");
  object.put(layout().text_length, uint64_t{3});
  for (const uint32_t width : {0, 3, 5, 6, 7}) {
    object.put(layout().text_state, width << 2 | kCompact | kAscii);
    EXPECT_EQ(copied(object), "(none)");
  }
}

TEST_P(PythonTextOfEach, IsNoneWhereItGoesBeyondWhatIsMapped) {
  constexpr size_t kPage = 4096;
  auto* page = static_cast<unsigned char*>(
      mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(page, MAP_FAILED);
  ASSERT_EQ(mprotect(page + kPage, kPage, PROT_NONE), 0);
  const TextObject object(layout(), U"abc", 1, true);
  const size_t size = layout().text_ascii + 3;
  unsigned char* copy = page + kPage - size;
  memcpy(copy, reinterpret_cast<const void*>(object.address()), size);
  EXPECT_EQ(copied(reinterpret_cast<uintptr_t>(copy)), "abc");
  const uint64_t longer = 4;
  memcpy(copy + layout().text_length, &longer, sizeof longer);
  EXPECT_EQ(copied(reinterpret_cast<uintptr_t>(copy)), "(none)");
  munmap(page, 2 * kPage);
}

INSTANTIATE_TEST_SUITE_P(PythonText, PythonTextOfEach, testing::Values(9, 10, 11, 12));

}  // namespace
}  // namespace oomguard::trace
