#include <gtest/gtest.h>

#include <string>

#include "collector/options/options.h"

namespace oomguard::options {
namespace {

std::string formatted(int64_t bytes) {
  char text[32];
  return std::string(text, format_bytes(bytes, text, sizeof(text)));
}

struct Size {
  const char* text;
  int64_t bytes;
};

class AcceptedSize : public testing::TestWithParam<Size> {};
TEST_P(AcceptedSize, IsRead) {
  int64_t bytes = -1;
  ASSERT_TRUE(parse_bytes(GetParam().text, &bytes)) << GetParam().text;
  EXPECT_EQ(bytes, GetParam().bytes) << GetParam().text;
}
INSTANTIATE_TEST_SUITE_P(
    Sizes, AcceptedSize,
    testing::Values(Size{"4096", 4096}, Size{"0", 0}, Size{"16B", 16}, Size{"10K", 10240},
                    Size{"28G", int64_t{28} << 30}, Size{"28g", int64_t{28} << 30},
                    Size{"512MiB", int64_t{512} << 20}, Size{"1.5GB", 1'500'000'000},
                    Size{"1.5 GiB", 1610612736}, Size{"2T", int64_t{2} << 40},
                    Size{"9223372036854775807", INT64_MAX}, Size{"0.5k", 512}));

TEST(ParseBytes, RejectsWhatIsNoSizeOrDoesNotFit) {
  for (const char* text :
       {"", " ", "G", "-1", "+1", ".5G", "1.G", "1.5", "1.5B", "1 G B", "28GiBs", "28Gi", "0x10",
        "9223372036854775808", "8388608T", "18446744073709551616", "99999999999999999999999999",
        "1.0000000001G", "5E"}) {
    int64_t bytes = 42;
    EXPECT_FALSE(parse_bytes(text, &bytes)) << text;
    EXPECT_EQ(bytes, 42) << text;
  }
  int64_t bytes = 0;
  EXPECT_FALSE(parse_bytes(nullptr, &bytes));
}

TEST(ParseShare, TakesTenthsOfAPercentUpToTheWhole) {
  uint32_t permille = 0;
  EXPECT_TRUE(parse_share("80%", &permille));
  EXPECT_EQ(permille, 800u);
  EXPECT_TRUE(parse_share("0.1%", &permille));
  EXPECT_EQ(permille, 1u);
  EXPECT_TRUE(parse_share("100%", &permille));
  EXPECT_EQ(permille, 1000u);
  for (const char* text :
       {"0%", "100.1%", "101%", "80", "%", "80 %", "12.55%", "-5%", "18446744073709551617%"}) {
    EXPECT_FALSE(parse_share(text, &permille)) << text;
  }
}

TEST(FormatBytes, PicksTheUnitThatAPersonWould) {
  EXPECT_EQ(formatted(0), "0 bytes");
  EXPECT_EQ(formatted(1), "1 byte");
  EXPECT_EQ(formatted(16), "16 bytes");
  EXPECT_EQ(formatted(1023), "1023 bytes");
  EXPECT_EQ(formatted(1024), "1 KiB");
  EXPECT_EQ(formatted(1536), "1.5 KiB");
  EXPECT_EQ(formatted(int64_t{512} << 20), "512 MiB");
  EXPECT_EQ(formatted(5798205849), "5.4 GiB");
  EXPECT_EQ(formatted(int64_t{6} << 30), "6.0 GiB");
  EXPECT_EQ(formatted(-(int64_t{6} << 30)), "-6.0 GiB");
}

TEST(FormatBytes, RoundsUpIntoTheNextUnit) {
  EXPECT_EQ(formatted((int64_t{1} << 30) - 1), "1.0 GiB");
  EXPECT_EQ(formatted((int64_t{1} << 20) - 1), "1 MiB");
}

TEST(FormatBytes, SurvivesTheExtremesAndShortBuffers) {
  EXPECT_EQ(formatted(INT64_MAX), "8192.0 PiB");
  EXPECT_EQ(formatted(INT64_MIN), "-8192.0 PiB");
  char small[4] = "xxx";
  EXPECT_EQ(format_bytes(int64_t{512} << 20, small, sizeof(small)), 3u);
  EXPECT_STREQ(small, "512");
  EXPECT_EQ(format_bytes(1, small, 0), 0u);
}

}  // namespace
}  // namespace oomguard::options
