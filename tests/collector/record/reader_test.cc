#include "collector/record/reader.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <string>

#include "collector/record/text.h"
#include "tests/collector/record/fixture.h"

namespace oomguard::record {
namespace {

class Reader : public testing::Test {
 protected:
  Reader() : path_(folder_.path() + "/x.flight"), file_(make_flight()) {}
  Result<Flight> read(size_t size = FlightBytes::size()) {
    file_.write(path_, size);
    return read_flight(path_);
  }
  void expect_fault(const Result<Flight>& flight, const char* words) {
    ASSERT_FALSE(flight);
    EXPECT_NE(flight.error().message.find(words), std::string::npos) << flight.error().message;
    EXPECT_EQ(flight.error().message.find(path_), 0u) << "the file is named";
  }
  TemporaryFolder folder_;
  std::string path_;
  FlightBytes file_;
};

TEST_F(Reader, GivesBackWhatWasWritten) {
  const auto flight = read();
  ASSERT_TRUE(flight);
  ASSERT_EQ(flight->refusals().size(), 1u);
  EXPECT_EQ(flight->refusals()[0]->request_bytes, kGiB * 3 / 2);
  EXPECT_STREQ(flight->refusals()[0]->neighbours[0].name, "python");
}

TEST_F(Reader, OrdersTheRingByNumberAndSkipsWhatIsBeingWritten) {
  fill_refusal(&file_->refusals[1]);
  fill_refusal(&file_->refusals[5]);
  file_->refusals[0].sequence = 65;
  file_->refusals[1].sequence = 2;
  file_->refusals[5].sequence = 0;
  const auto flight = read();
  ASSERT_TRUE(flight);
  ASSERT_EQ(flight->refusals().size(), 2u);
  EXPECT_EQ(flight->refusals()[0]->sequence.load(), 2u);
  EXPECT_EQ(flight->refusals()[1]->sequence.load(), 65u);
}

TEST_F(Reader, RefusesTruncatedFiles) {
  expect_fault(read(0), "too short");
  expect_fault(read(sizeof(FlightHeader) - 1), "too short");
  expect_fault(read(sizeof(FlightHeader)), "ends before");
  expect_fault(read(sizeof(FlightFile)), "ends before");
  expect_fault(read(FlightBytes::size() - 1), "ends before");
}

TEST_F(Reader, RefusesWhatIsNoFlightFile) {
  file_->header.magic[0] = 'X';
  expect_fault(read(), "not a flight file");
}

TEST_F(Reader, RefusesOtherVersionsAndSaysWhich) {
  file_->header.version = kVersion + 1;
  expect_fault(read(), "format 5");
}

TEST_F(Reader, RefusesAnotherByteOrderAndSaysSo) {
  file_->header.version = __builtin_bswap32(kVersion);
  expect_fault(read(), "another byte order");
}

TEST_F(Reader, RefusesOtherSizesAndOtherPlaces) {
  const std::function<void(FlightHeader*)> kDamages[] = {
      [](FlightHeader* header) { header->file_bytes = 0; },
      [](FlightHeader* header) { header->file_bytes = ~uint64_t{0}; },
      [](FlightHeader* header) { header->file_bytes += kFlightGranule; },
      [](FlightHeader* header) { header->sections[5].offset_bytes = 0; },
      [](FlightHeader* header) { header->sections[3].capacity = 0xffffffff; },
      [](FlightHeader* header) { header->sections[1].record_bytes = 1; },
      [](FlightHeader* header) { header->header_bytes = 8; },
      [](FlightHeader* header) { header->refusal_bytes = 0xffffffff; },
      [](FlightHeader* header) { header->refusal_slots = 1u << 31; }};
  for (const auto& damage : kDamages) {
    file_ = make_flight();
    damage(&file_->header);
    expect_fault(read(), "damaged");
  }
}

TEST_F(Reader, EndsEveryStringAndBoundsEveryCount) {
  RefusalRecord& refusal = file_->refusals[0];
  const uint64_t sequence = refusal.sequence.load();
  auto* bytes = reinterpret_cast<char*>(&refusal);
  std::fill(bytes, bytes + sizeof(RefusalRecord), 'A');
  refusal.sequence = sequence;
  std::fill(std::begin(file_->header.command), std::end(file_->header.command), 'A');
  file_->header.end_state = 77;
  const auto flight = read();
  ASSERT_TRUE(flight);
  EXPECT_EQ(strlen(flight->header().command), sizeof(FlightHeader::command) - 1);
  EXPECT_EQ(flight->header().end_state.load(), static_cast<uint32_t>(EndState::kRunning));
  const RefusalRecord& safe = *flight->refusals().at(0);
  EXPECT_EQ(strlen(safe.where), sizeof(safe.where) - 1);
  EXPECT_EQ(strlen(safe.levels[kLevelSlots - 1].path), sizeof(LevelRecord::path) - 1);
  EXPECT_LE(safe.level_count, kLevelSlots);
  EXPECT_LE(safe.block_count, kBlockSlots);
  EXPECT_LE(safe.neighbour_count, kNeighbourSlots);
  std::string text(16384, '\0');
  EXPECT_GT(render(flight->header(), safe, Audience::kFull, text.data(), text.size()), 0u);
}

TEST_F(Reader, RefusesAnythingButARegularFile) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  expect_fault(read_flight(path_), "not a regular file");
  EXPECT_FALSE(read_flight(folder_.path()));
  EXPECT_FALSE(read_flight(folder_.path() + "/missing"));
}

TEST_F(Reader, ReadsTheHeaderAloneWithTheSameChecks) {
  ASSERT_TRUE(read());
  const auto header = read_header(path_);
  ASSERT_TRUE(header);
  EXPECT_STREQ((*header)->command, "python3 train.py");
  file_->header.version = 9;
  EXPECT_FALSE(read());
  EXPECT_FALSE(read_header(path_));
}

TEST_F(Reader, KnowsAReusedProcessNumber) {
  file_->header.pid = ::getpid();
  file_->header.start_ticks = 1;
  EXPECT_FALSE(is_running(file_->header));
  file_->header.pid = -1;
  EXPECT_FALSE(is_running(file_->header));
}

}  // namespace
}  // namespace oomguard::record
