#include "collector/record/timeline.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "collector/record/reader.h"
#include "tests/collector/record/fixture.h"

namespace oomguard::record {
namespace {

bool always(const void*, size_t) { return true; }
bool never(const void*, size_t) { return false; }

class TimelineTest : public testing::Test {
 protected:
  TimelineTest() : file_(make_flight()), view_(view_of(file_.get())) {}
  void add(int64_t at_ns, int64_t headroom, Timeline::MayWrite may_write = always) {
    Sample sample{};
    sample.at_monotonic_ns = at_ns;
    sample.headroom_bytes = headroom;
    timeline_.add(view_, sample, may_write);
  }
  std::vector<Sample> read() {
    const std::string path = folder_.path() + "/x.flight";
    file_.write(path);
    const auto flight = read_flight(path);
    if (!flight) ADD_FAILURE() << flight.error().message;
    return flight ? flight->samples() : std::vector<Sample>{};
  }
  TemporaryFolder folder_;
  FlightBytes file_;
  View view_;
  Timeline timeline_;
};

TEST_F(TimelineTest, AnEmptyFileHasNone) { EXPECT_TRUE(read().empty()); }

TEST_F(TimelineTest, KeepsEveryLookOfTheNewest) {
  for (int64_t i = 1; i <= 200; ++i) add(i * 1'000'000, 1000 - i);
  const auto samples = read();
  ASSERT_EQ(samples.size(), 200u);
  EXPECT_EQ(samples.front().headroom_bytes, 999);
  EXPECT_EQ(samples.back().at_monotonic_ns, 200'000'000);
}

TEST_F(TimelineTest, KeepsTheWorstOfEachSecondBeyondThose) {
  // Ten looks a second for a hundred seconds; in each second the fourth look is the worst.
  for (int64_t i = 0; i < 1000; ++i) add(kSecondNs + i * kSecondNs / 10, i % 10 == 3 ? 5 : 100);
  const auto samples = read();
  for (size_t i = 1; i < samples.size(); ++i) {
    EXPECT_LT(samples[i - 1].at_monotonic_ns, samples[i].at_monotonic_ns);
  }
  EXPECT_EQ(samples.front().at_monotonic_ns, kSecondNs + 3 * kSecondNs / 10);
  EXPECT_EQ(samples.front().headroom_bytes, 5);
  EXPECT_EQ(samples.size(), 256u + 75) << "seconds that the looks cover are not there twice";
}

TEST_F(TimelineTest, HoldsAWeek) {
  constexpr int64_t kWeek = 7 * 24 * 3600;
  for (int64_t second = 1; second <= kWeek; ++second) {
    add(second * kSecondNs, second == 1000 ? 1 : 100);
  }
  const auto samples = read();
  ASSERT_FALSE(samples.empty());
  EXPECT_LT(samples.front().at_monotonic_ns, 256 * kSecondNs * 2) << "the first minutes are there";
  EXPECT_EQ(samples.back().at_monotonic_ns, kWeek * kSecondNs);
  bool worst = false;
  for (const Sample& sample : samples) worst |= sample.headroom_bytes == 1;
  EXPECT_TRUE(worst) << "the worst moment is never dropped";
  for (size_t i = 1; i < samples.size(); ++i) {
    EXPECT_LE(samples[i].at_monotonic_ns - samples[i - 1].at_monotonic_ns, 512 * kSecondNs);
  }
}

TEST_F(TimelineTest, WhereARingMayNotBeWrittenItsSampleComesLater) {
  add(1 * kSecondNs, 7);
  add(2 * kSecondNs, 50, never);
  add(3 * kSecondNs, 60);
  const SampleRecord& second = view_.timeline[kRings[1].first];
  EXPECT_EQ(second.sequence.load(), 1u);
  EXPECT_EQ(second.sample.headroom_bytes, 7);
  EXPECT_EQ(read().size(), 2u) << "the one that was not written is missing among the looks";
}

TEST_F(TimelineTest, ARecordThatIsBeingWrittenIsSkipped) {
  for (int64_t i = 1; i <= 3; ++i) add(i * 1'000'000, i);
  view_.timeline[1].sequence = 0;
  EXPECT_EQ(read().size(), 2u);
  view_.timeline[2].sequence = 77;  // not a number that can be in this place
  EXPECT_EQ(read().size(), 1u);
}

TEST_F(TimelineTest, TimeNeverGoesBackForAReader) {
  for (int64_t i = 1; i <= 9; ++i) add(i * 1'000'000, i);
  view_.timeline[4].sample.at_monotonic_ns = INT64_MIN;
  view_.timeline[5].sample.needed_bytes = INT64_MIN;
  const auto samples = read();
  for (size_t i = 1; i < samples.size(); ++i) {
    EXPECT_GT(samples[i].at_monotonic_ns - samples[i - 1].at_monotonic_ns, 0);
    EXPECT_GE(samples[i].needed_bytes, -(int64_t{1} << 60));
  }
}

TEST(TimelineWithoutSections, DoesNothing) {
  FlightBytes file;
  file->header.file_bytes = 0;
  Timeline timeline;
  timeline.add(view_of(file.get()), Sample{}, always);
  EXPECT_EQ(view_of(file.get()).capacity(Section::kTimeline), 0u);
}

}  // namespace
}  // namespace oomguard::record
