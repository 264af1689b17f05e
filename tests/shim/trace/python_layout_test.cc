#include "shim/trace/python_layout.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "tests/shim/trace/debug_offsets.h"

namespace oomguard::trace {
namespace {

bool layout_from(const Offsets& words, PythonLayout* out) {
  return layout_from_debug_offsets(
      {reinterpret_cast<const unsigned char*>(words.data()), sizeof words}, out);
}

TEST(PythonLayout, IsKnownFor39To312) {
  for (int minor = 9; minor <= 12; ++minor) {
    const PythonLayout* layout = layout_of(3, minor);
    ASSERT_NE(layout, nullptr) << minor;
    EXPECT_LE(layout->frame_bytes, kMostRead);
    EXPECT_LE(layout->code_bytes, kMostRead);
    EXPECT_LE(layout->text_compact + 8, kMostRead);
  }
  EXPECT_EQ(layout_of(3, 8), nullptr);
  EXPECT_EQ(layout_of(3, 13), nullptr);
  EXPECT_EQ(layout_of(2, 9), nullptr);
}

TEST(PythonLayout, ComesFromTheDebugOffsetsOf313) {
  PythonLayout layout;
  ASSERT_TRUE(layout_from(of_313(), &layout));
  EXPECT_EQ(layout.form, FrameForm::kEntryFrames);
  EXPECT_FALSE(layout.through_cframe);
  EXPECT_EQ(layout.state_frame, 72);
  EXPECT_EQ(layout.frame_previous, 8);
  EXPECT_EQ(layout.frame_code, 0);
  EXPECT_EQ(layout.frame_position, 56);
  EXPECT_EQ(layout.frame_owner, 70);
  EXPECT_GE(layout.frame_bytes, 71);
  EXPECT_EQ(layout.code_name, 128);
  EXPECT_EQ(layout.code_lines, 136);
  EXPECT_EQ(layout.code_first_line, 68);
  EXPECT_EQ(layout.code_start, 200);
  EXPECT_GE(layout.code_bytes, 144);
  EXPECT_EQ(layout.text_ascii, 40);
  EXPECT_EQ(layout.text_compact, 56);
  EXPECT_TRUE(matches(layout, 200, 136));
  EXPECT_FALSE(matches(layout, 208, 136));
}

TEST(PythonLayout, ComesFromTheDebugOffsetsOf314) {
  PythonLayout layout;
  ASSERT_TRUE(layout_from(of_314(), &layout));
  EXPECT_EQ(layout.state_frame, 80);
  EXPECT_EQ(layout.frame_owner, 74);
  EXPECT_GE(layout.frame_bytes, 75);
  EXPECT_EQ(layout.code_start, 208);
  EXPECT_EQ(layout.bytes_text, 32);
  EXPECT_EQ(layout.text_state, 32);
}

TEST(PythonLayout, RefusesABuildWithoutTheGil) {
  for (Offsets words : {of_313(), of_314()}) {
    words[2] = 1;
    PythonLayout layout;
    EXPECT_FALSE(layout_from(words, &layout));
  }
}

TEST(PythonLayout, RefusesOtherVersionsAndOtherMemory) {
  PythonLayout layout;
  Offsets words = of_313();
  words[1] = 0x030f00f0;
  EXPECT_FALSE(layout_from(words, &layout));
  words = of_313();
  words[0] ^= 1;
  EXPECT_FALSE(layout_from(words, &layout));
  EXPECT_FALSE(layout_from_debug_offsets({}, &layout));
}

TEST(PythonLayout, RefusesOffsetsThatAreNone) {
  for (const size_t at : {23, 29, 30, 31, 33, 35, 37, 38, 39, 43, 45, 65, 66, 68, 69, 70}) {
    for (const uint64_t value : {uint64_t{1} << 40, ~uint64_t{0}}) {
      Offsets words = of_313();
      words[at] = value;
      PythonLayout layout;
      EXPECT_FALSE(layout_from(words, &layout)) << at;
    }
  }
}

TEST(PythonLayout, MatchesTheSizesOfItsTypes) {
  EXPECT_TRUE(matches(*layout_of(3, 11), 184, 120));
  EXPECT_FALSE(matches(*layout_of(3, 11), 184, 136));  // a debug build
  EXPECT_FALSE(matches(*layout_of(3, 11), 200, 120));
}

}  // namespace
}  // namespace oomguard::trace
