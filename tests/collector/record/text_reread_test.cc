#include "collector/record/text_reread.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/collector/record/fixture.h"

namespace oomguard::record {
namespace {

class TextReread : public testing::Test {
 protected:
  TextReread() : flight_(make_flight()) {
    RereadRecord& reread = flight_->header.reread;
    reread.times = 1;
    reread.mapped_bytes = 38 * kGiB;
    reread.read_again_bytes = 3 * kGiB / 2;
    reread.duration_ms = 2150;
    reread.major_faults = 1234;
    reread.limit_bytes = 6 * kGiB;
    reread.files = 8;
    strcpy(reread.file, "model-00001-of-00008.safetensors");
  }
  RereadRecord& reread() { return flight_->header.reread; }
  std::string rendered(size_t capacity = 640) {
    std::string out(capacity, '\0');
    out.resize(render_reread(flight_->header, out.data(), out.size()));
    return out;
  }
  FlightBytes flight_;
};

TEST_F(TextReread, NamesTheFileTheLimitAndWhatWasRead) {
  EXPECT_EQ(
      rendered(),
      "oomguard: warning: process 4242 reads model-00001-of-00008.safetensors and 7 more files "
      "from disk over and over, because what is mapped (38.0 GiB) does not fit into what the "
      "limit of 6.0 GiB leaves: in 2.1 s 1.5 GiB were read again, with 1234 major page faults. "
      "It is slow, but nothing is refused for it.\n");
}

TEST_F(TextReread, LeavesOutWhatIsNotKnown) {
  reread().read_again_bytes = -1;
  reread().limit_bytes = INT64_MAX;
  reread().files = 1;
  EXPECT_EQ(
      rendered(),
      "oomguard: warning: process 4242 reads model-00001-of-00008.safetensors from disk over and "
      "over, because what is mapped (38.0 GiB) does not fit into the memory that is left: in "
      "2.1 s 1234 major page faults. It is slow, but nothing is refused for it.\n");
}

TEST_F(TextReread, SaysNothingWhereNothingHappenedOrItDoesNotFit) {
  EXPECT_EQ(rendered(100), "");
  reread().times = 0;
  EXPECT_EQ(rendered(), "");
}

TEST_F(TextReread, ShowsNoControlCharactersOfAFilesName) {
  strcpy(reread().file, "a\033[2Jb");
  EXPECT_NE(rendered().find("a?[2Jb"), std::string::npos);
}

}  // namespace
}  // namespace oomguard::record
