#include "collector/record/layout.h"

#include <gtest/gtest.h>

#include "tests/collector/record/fixture.h"

namespace oomguard::record {
namespace {

TEST(Layout, SectionsAreWithinTheFileAndApart) {
  for (const uint64_t bytes : {kSmallestFlightBytes, kSmallestFlightBytes + kFlightGranule,
                               kDefaultFlightBytes, uint64_t{100} << 20, kLargestFlightBytes}) {
    ASSERT_TRUE(is_flight_size(bytes));
    const Layout layout = layout_for(bytes);
    for (uint32_t i = 0; i < kSectionCount; ++i) {
      const Layout::Place& place = layout.sections[i];
      EXPECT_EQ(place.offset_bytes % 8, 0u);
      EXPECT_GT(place.capacity, 0u);
      const uint64_t end = place.offset_bytes + uint64_t{place.record_bytes} * place.capacity;
      EXPECT_LE(end, bytes);
      EXPECT_GE(place.offset_bytes, sizeof(FlightHeader));
      for (uint32_t k = 0; k < kSectionCount; ++k) {
        if (k == i) continue;
        const uint64_t other = layout.sections[k].offset_bytes;
        EXPECT_TRUE(other < place.offset_bytes || other >= end) << i << " and " << k;
      }
    }
  }
}

TEST(Layout, TheFileBeginsWithItsRefusalsAndTheTimelineWithAPage) {
  const Layout layout = layout_for(kDefaultFlightBytes);
  EXPECT_EQ(layout[Section::kRefusals].offset_bytes, offsetof(FlightFile, refusals));
  EXPECT_EQ(layout[Section::kRefusals].capacity, kRefusalSlots);
  EXPECT_EQ(layout[Section::kTimeline].offset_bytes % 4096, 0u);
}

TEST(Layout, SizesAreRoundedDown) {
  EXPECT_EQ(flight_size(kSmallestFlightBytes - 1), 0u);
  EXPECT_EQ(flight_size(kSmallestFlightBytes + 5), kSmallestFlightBytes);
  EXPECT_EQ(flight_size(UINT64_MAX), kLargestFlightBytes);
}

TEST(Layout, NodeAndStringZeroAreTakenInANewFile) {
  FlightBytes file;
  const View view = view_of(file.get());
  EXPECT_EQ(view.section(Section::kNodes).used.load(), 1u);
  EXPECT_EQ(view.section(Section::kStrings).used.load(), 1u);
  EXPECT_EQ(view.section(Section::kSites).used.load(), 0u);
  EXPECT_EQ(view.section(Section::kTimeline).used.load(), kTimelineSamples);
}

TEST(Layout, ARecordWithoutASizeHasNoSections) {
  FlightBytes file;
  file->header.file_bytes = 0;
  const View view = view_of(file.get());
  EXPECT_EQ(view.sites, nullptr);
  for (uint32_t i = 0; i < kSectionCount; ++i) {
    EXPECT_EQ(view.capacity(static_cast<Section>(i)), 0u);
  }
}

}  // namespace
}  // namespace oomguard::record
