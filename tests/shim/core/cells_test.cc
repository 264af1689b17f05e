#include "shim/core/cells.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace oomguard::cells {
namespace {

class Cells : public testing::Test {
 protected:
  std::unique_ptr<record::FlightHeader> header_ = std::make_unique<record::FlightHeader>();
};

TEST_F(Cells, KeepTheSourceWhileTheyRunAndNoSecret) {
  begin(header_.get(), 3, "if True:\n    login(token='hf_0123456789abcdefgh')\n\nrows = []");
  EXPECT_EQ(header_->cell, 3u);
  EXPECT_STREQ(header_->cell_source, "if True:\n    login(token='***')\n\nrows = []");
  begin(header_.get(), 0, "");
  EXPECT_EQ(header_->cell, 0u);
  for (const char c : header_->cell_source) ASSERT_EQ(c, '\0');
}

TEST_F(Cells, AreCutWhereTheyDoNotFit) {
  for (size_t size = sizeof header_->cell_source - 3; size < sizeof header_->cell_source + 3;
       ++size) {
    const std::string source = std::string(size - 1, 'x') + "\n" + std::string(4, 'y');
    begin(header_.get(), 1, source.c_str());
    EXPECT_EQ(std::string(header_->cell_source),
              source.substr(0, sizeof header_->cell_source - 1));
  }
}

TEST_F(Cells, AreKnownByTheEndOfTheirFilesPaths) {
  const std::string longest = "/tmp/" + std::string(100, 'd') + "/ipykernel_1/2718281828.py";
  name(header_.get(), 7, longest.c_str());
  const record::CellRecord& cell = header_->cells[7];
  EXPECT_EQ(cell.number, 7u);
  EXPECT_TRUE(longest.ends_with(cell.file));
  EXPECT_EQ(std::string(cell.file).size(), sizeof cell.file - 1);
  name(header_.get(), 7 + record::kCellSlots, "<ipython-input-39-0>");
  EXPECT_EQ(cell.number, 7 + record::kCellSlots);
  EXPECT_STREQ(cell.file, "<ipython-input-39-0>");
}

}  // namespace
}  // namespace oomguard::cells
