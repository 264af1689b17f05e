// Where each section of a flight file lies: a pure function of the file's size, so that a reader
// can tell a damaged table of sections from a whole one.
//
// Thread-safety: no state. Callable from a hook: yes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "collector/record/flight.h"
#include "collector/record/stacks.h"
#include "collector/record/timeline.h"

namespace oomguard::record {

inline constexpr uint64_t kDefaultFlightBytes = uint64_t{16} << 20;
inline constexpr uint64_t kSmallestFlightBytes = uint64_t{1} << 20;
inline constexpr uint64_t kLargestFlightBytes = uint64_t{1} << 30;
inline constexpr uint64_t kFlightGranule = uint64_t{64} << 10;  // sizes are multiples of it

struct Layout {
  struct Place {
    uint64_t offset_bytes;
    uint32_t record_bytes;
    uint32_t capacity;
  };
  Place sections[kSectionCount];
  constexpr const Place& operator[](Section section) const {
    return sections[static_cast<uint32_t>(section)];
  }
};

constexpr bool is_flight_size(uint64_t bytes) {
  return bytes >= kSmallestFlightBytes && bytes <= kLargestFlightBytes &&
         bytes % kFlightGranule == 0;
}

// The next smaller size that a file may have; 0 where there is none.
constexpr uint64_t flight_size(uint64_t bytes) {
  const uint64_t most = bytes < kLargestFlightBytes ? bytes : kLargestFlightBytes;
  return most < kSmallestFlightBytes ? 0 : most - most % kFlightGranule;
}

// `file_bytes`: is_flight_size.
constexpr Layout layout_for(uint64_t file_bytes) {
  constexpr uint64_t kPage = 4096;
  constexpr uint64_t kLine = 64;
  constexpr uint64_t kModules = 4096;      // one for each 16 KiB of the file, at most
  constexpr uint64_t kModelFiles = 1024;   // one for each 64 KiB
  Layout layout{};
  uint64_t at = 0;
  const auto place = [&](Section section, uint64_t record_bytes, uint64_t capacity,
                         uint64_t align) {
    at = (at + align - 1) / align * align;
    layout.sections[static_cast<uint32_t>(section)] = {at, static_cast<uint32_t>(record_bytes),
                                                       static_cast<uint32_t>(capacity)};
    at += record_bytes * capacity;
  };
  const auto least = [](uint64_t a, uint64_t b) { return a < b ? a : b; };
  at = sizeof(FlightHeader);
  place(Section::kRefusals, sizeof(RefusalRecord), kRefusalSlots, 8);
  place(Section::kTimeline, sizeof(SampleRecord), kTimelineSamples, kPage);
  place(Section::kModules, sizeof(ModuleRecord), least(kModules, file_bytes >> 14), kLine);
  place(Section::kModelFiles, sizeof(ModelFileRecord), least(kModelFiles, file_bytes >> 16), kLine);
  const uint64_t quarter = (file_bytes - at - 4 * kLine) / 4;
  place(Section::kStrings, 1, quarter, kLine);
  place(Section::kFrames, sizeof(FrameRecord), quarter / sizeof(FrameRecord), kLine);
  place(Section::kNodes, sizeof(NodeRecord), quarter / sizeof(NodeRecord), kLine);
  place(Section::kSites, sizeof(SiteRecord), quarter / sizeof(SiteRecord), kLine);
  return layout;
}

// Fills the header's table for a new, empty file.
inline void write_layout(FlightHeader* header, uint64_t file_bytes) {
  const Layout layout = layout_for(file_bytes);
  header->file_bytes = file_bytes;
  for (uint32_t i = 0; i < kSectionCount; ++i) {
    SectionRecord& section = header->sections[i];
    section.offset_bytes = layout.sections[i].offset_bytes;
    section.record_bytes = layout.sections[i].record_bytes;
    section.capacity = layout.sections[i].capacity;
    const auto which = static_cast<Section>(i);
    const bool ring = which == Section::kRefusals || which == Section::kTimeline;
    const bool starts_empty = which != Section::kStrings && which != Section::kNodes;
    section.used.store(ring ? section.capacity : starts_empty ? 0 : 1, std::memory_order_relaxed);
    section.dropped.store(0, std::memory_order_relaxed);
  }
}

// The sections of a flight file in memory. Made from the header once; what the header says later
// does not matter. Without sections (a record that is in memory alone before a session starts)
// every capacity is 0 and every pointer but `file` null.
struct View {
  FlightFile* file = nullptr;
  SampleRecord* timeline = nullptr;
  char* strings = nullptr;
  FrameRecord* frames = nullptr;
  NodeRecord* nodes = nullptr;
  SiteRecord* sites = nullptr;
  ModuleRecord* modules = nullptr;
  ModelFileRecord* model_files = nullptr;
  uint32_t capacities[kSectionCount] = {};

  FlightHeader& header() const { return file->header; }
  uint32_t capacity(Section section) const { return capacities[static_cast<uint32_t>(section)]; }
  SectionRecord& section(Section which) const {
    return file->header.sections[static_cast<uint32_t>(which)];
  }
};

// `file`: mapped or allocated in full, its table as write_layout made it.
inline View view_of(FlightFile* file) {
  View view;
  view.file = file;
  if (!is_flight_size(file->header.file_bytes)) return view;
  const Layout layout = layout_for(file->header.file_bytes);
  const auto at = [&](Section section) {
    return reinterpret_cast<char*>(file) + layout[section].offset_bytes;
  };
  view.timeline = reinterpret_cast<SampleRecord*>(at(Section::kTimeline));
  view.strings = at(Section::kStrings);
  view.frames = reinterpret_cast<FrameRecord*>(at(Section::kFrames));
  view.nodes = reinterpret_cast<NodeRecord*>(at(Section::kNodes));
  view.sites = reinterpret_cast<SiteRecord*>(at(Section::kSites));
  view.modules = reinterpret_cast<ModuleRecord*>(at(Section::kModules));
  view.model_files = reinterpret_cast<ModelFileRecord*>(at(Section::kModelFiles));
  for (uint32_t i = 0; i < kSectionCount; ++i) view.capacities[i] = layout.sections[i].capacity;
  return view;
}

static_assert(layout_for(kSmallestFlightBytes)[Section::kRefusals].offset_bytes ==
              offsetof(FlightFile, refusals));
static_assert(layout_for(kSmallestFlightBytes)[Section::kSites].capacity > 256);

}  // namespace oomguard::record
