#include "collector/record/line_buffer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace oomguard::record {
namespace {

TEST(LineBuffer, JoinsTextAndNumbers) {
  char out[64];
  LineBuffer line(out, sizeof(out));
  line.text("a ").number(-42).text(" ").padded(7, 3).number(0);
  line.end_line();
  EXPECT_EQ(line.finish(), strlen("a -42 0070\n"));
  EXPECT_STREQ(out, "a -42 0070\n");
}

TEST(LineBuffer, ShowsTheSmallestNumber) {
  char out[64];
  LineBuffer line(out, sizeof(out));
  line.number(INT64_MIN).end_line();
  line.finish();
  EXPECT_STREQ(out, "-9223372036854775808\n");
}

TEST(LineBuffer, LeavesOutALineThatDoesNotFitAndAllAfterIt) {
  char out[8];
  LineBuffer line(out, sizeof(out));
  line.text("one").end_line();
  line.text("longer").end_line();
  line.text("x").end_line();
  EXPECT_EQ(line.finish(), 4u);
  EXPECT_STREQ(out, "one\n");
}

TEST(LineBuffer, StaysInsideABufferOfAnySize) {
  for (size_t capacity = 0; capacity < 12; ++capacity) {
    char out[16];
    memset(out, '#', sizeof(out));
    LineBuffer line(out, capacity);
    line.text("ab").end_line();
    line.text("cd").end_line();
    const size_t length = line.finish();
    EXPECT_TRUE(length == 0 || length == 3 || length == 6) << capacity;
    for (size_t i = capacity; i < sizeof(out); ++i) EXPECT_EQ(out[i], '#') << capacity;
  }
}

TEST(LineBuffer, ShowsControlCharactersOfNamesAsQuestionMarks) {
  char out[64];
  LineBuffer line(out, sizeof(out));
  const char name[8] = {'a', '\x1b', '[', '\n', '\x7f', '\xc2', '\x9b', 'z'};  // no end
  line.name(name).end_line();
  const size_t length = line.finish();
  EXPECT_EQ(std::string(out, length), "a?[??\xc2?z\n");
}

TEST(LineBuffer, KeepsNamesInOtherScripts) {
  char out[64];
  LineBuffer line(out, sizeof(out));
  char name[16] = "модель";
  line.name(name).end_line();
  line.finish();
  EXPECT_STREQ(out, "модель\n");
}

}  // namespace
}  // namespace oomguard::record
