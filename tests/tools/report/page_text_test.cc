#include "tools/report/page_text.h"

#include <gtest/gtest.h>

namespace oomguard::tools {
namespace {

TEST(PageText, BreaksBetweenWordsAndIndentsWhatFollows) {
  PageText page(false);
  std::string text = "Held:  this process";
  for (int i = 0; i < 30; ++i) text += " 123456789";
  page.lines(text + "\n  and more\n");
  size_t start = 0;
  int lines = 0;
  for (size_t end; (end = page.text().find('\n', start)) != std::string::npos; start = end + 1) {
    const std::string line = page.text().substr(start, end - start);
    EXPECT_LE(line.size(), PageText::kColumns);
    if (lines > 0 && line.find("and") == std::string::npos) {
      EXPECT_EQ(line.rfind("       1", 0), 0u) << line;
    }
    ++lines;
  }
  EXPECT_EQ(lines, 5);
  EXPECT_NE(page.text().find("\n  and more\n"), std::string::npos);
}

TEST(PageText, LeavesAWordThatIsLongerThanALineWhole) {
  const std::string path = "/" + std::string(150, 'x');
  PageText page(false);
  page.line("Session: " + path + ", process 12", 9);
  EXPECT_EQ(page.text(), "Session: " + path + ",\n         process 12\n");
}

TEST(PageText, ColoursOnlyWhereItIsTold) {
  PageText plain(false);
  PageText coloured(true);
  plain.line("x", 0, Style::kStrong);
  coloured.line("x", 0, Style::kStrong);
  EXPECT_EQ(plain.text(), "x\n");
  EXPECT_EQ(coloured.text(), "\x1b[1mx\x1b[0m\n");
}

TEST(PageText, ShowsNoControlCharacters) {
  EXPECT_EQ(shown("a\x1b[31m\x7f\tb"), "a?[31m??b");
  EXPECT_EQ(shown("a\xc2\x9b"
                  "31m\xc3\xa9"),
            "a?31m\xc3\xa9");
}

TEST(PageText, CountsAndCutsCharactersNotBytes) {
  EXPECT_EQ(columns("h\xc3\xa9llo"), 5u);
  EXPECT_EQ(shortened("h\xc3\xa9llo", 5, true), "h\xc3\xa9llo");
  EXPECT_EQ(shortened("h\xc3\xa9llo world", 5, true), "h\xc3\xa9...");
  EXPECT_EQ(shortened("hello w\xc3\xb6rld", 7, false), "...\xc3\xb6rld");
}

}  // namespace
}  // namespace oomguard::tools
