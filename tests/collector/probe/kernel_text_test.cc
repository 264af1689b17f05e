#include "collector/probe/kernel_text.h"

#include <string>
#include <string_view>

#include "tests/collector/probe/fixture_tree.h"

namespace oomguard::probe {
namespace {

Bytes single(std::string_view text) {
  Bytes value = 0;
  return parse_single(text.data(), text.size(), &value) ? value : -1;
}

TEST(SingleNumber, IsReadWithAndWithoutNewline) {
  EXPECT_EQ(single("4096\n"), 4096);
  EXPECT_EQ(single("0"), 0);
  EXPECT_EQ(single("max\n"), kUnlimited);
}

TEST(SingleNumber, NoLimitOfVersionOneIsUnlimited) {
  EXPECT_EQ(single("9223372036854771712\n"), kUnlimited);
  EXPECT_EQ(single("99999999999999999999999999\n"), kUnlimited);
}

TEST(SingleNumber, IsRefusedInAnyOtherForm) {
  for (const char* text : {"", "\n", "-1\n", " 5\n", "5 \n", "5\n\n", "5k\n", "maximal\n", "ma",
                           "0x10\n", "\x7f\x45LF"}) {
    EXPECT_EQ(single(text), -1) << '"' << text << '"';
  }
  EXPECT_EQ(single(std::string_view("12\0\n", 4)), -1);
}

class KeyedTest : public testing::Test {
 protected:
  Bytes find(const std::string& text, const char* key) {
    tree_.write("/text", text);
    KeyedValue wanted[] = {{key}};
    EXPECT_EQ(read_keyed_once({tree_.root(), "text"}, wanted, 1), 0);
    return wanted[0].found ? wanted[0].value : -1;
  }
  FixtureTree tree_;
};

TEST_F(KeyedTest, FindsWholeKeysOnly) {
  const std::string text = "inactive_file 7\ntotal_active_file 8\nactive_file 9\n";
  EXPECT_EQ(find(text, "active_file"), 9);
  EXPECT_EQ(find(text, "inactive_file"), 7);
  EXPECT_EQ(find(text, "active"), -1);
}

TEST_F(KeyedTest, KnowsTheFormOfMeminfo) {
  EXPECT_EQ(find("MemTotal:       24 kB\nMemFree:  1 kB\n", "MemTotal:"), 24 * 1024);
  EXPECT_EQ(find("MemTotal:       24 MB\n", "MemTotal:"), -1);
}

TEST_F(KeyedTest, DoesNotBelieveHostileTexts) {
  EXPECT_EQ(find("", "x"), -1);
  EXPECT_EQ(find("\n\n\n", "x"), -1);
  EXPECT_EQ(find("x", "x"), -1);
  EXPECT_EQ(find("x \n", "x"), -1);
  EXPECT_EQ(find("x 12", "x"), -1) << "a last line that was cut off";
  EXPECT_EQ(find("x -12\n", "x"), -1);
  EXPECT_EQ(find("x 12z\n", "x"), -1);
  EXPECT_EQ(find(std::string(5000, '\0') + "\nx 3\n", "x"), 3);
  EXPECT_EQ(find(std::string(100000, 'x'), "x"), -1);
}

TEST_F(KeyedTest, HugeNumbersAreUnlimited) {
  EXPECT_EQ(find("x 99999999999999999999\n", "x"), kUnlimited);
  EXPECT_EQ(find("x 9223372036854775807 kB\n", "x"), kUnlimited);
}

TEST_F(KeyedTest, FindsKeysAtEveryPlaceOfALongText) {
  for (size_t before = 1200; before < 1340; ++before) {
    const std::string text = std::string(before, 'a') + "\nkey 42\nafter 1\n";
    ASSERT_EQ(find(text, "key"), 42) << before;
  }
  std::string lines;
  for (int i = 0; i < 1000; ++i) lines += "filler_" + std::to_string(i) + " 1\n";
  EXPECT_EQ(find(lines + "key 5\n", "key"), 5);
}

TEST_F(KeyedTest, ALineThatOnlyEndsLikeTheKeyIsNoneAfterALongLine) {
  EXPECT_EQ(find(std::string(3000, 'a') + "\nkey 1\n", "key"), 1);
  EXPECT_EQ(find(std::string(1279, 'a') + "\nactive_file 2\n", "active_file"), 2);
  EXPECT_EQ(find(std::string(1280, 'a') + "active_file 2\n", "active_file"), -1);
}

}  // namespace
}  // namespace oomguard::probe
