// A folder that lives as long as its test, and a refusal with every field filled.
#pragma once

#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "collector/probe/probe.h"
#include "collector/record/layout.h"

namespace oomguard::record {

inline constexpr int64_t kMiB = int64_t{1} << 20;
inline constexpr int64_t kGiB = int64_t{1} << 30;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = std::filesystem::temp_directory_path() / "oomguard-test-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// 1.5 GiB refused to numpy in a 6 GiB group of which 5.4 GiB are in use.
inline void fill_refusal(RefusalRecord* refusal) {
  refusal->sequence = 3;
  refusal->incident = 2;
  refusal->at_realtime_ns = 1'700'000'000'123'000'000;
  refusal->pid = 4242;
  refusal->thread_id = 4243;
  refusal->kind = static_cast<uint32_t>(RequestKind::kMalloc);
  refusal->outcome = static_cast<uint32_t>(Outcome::kRefused);
  refusal->request_bytes = kGiB * 3 / 2;
  refusal->headroom_bytes = kGiB * 6 / 10;
  refusal->line_bytes = 96 * kMiB;
  refusal->reserve_bytes = 96 * kMiB;
  refusal->in_flight_bytes = 7 * kMiB;
  refusal->pending_bytes = 5 * kMiB;
  refusal->resident_bytes = kGiB * 55 / 10;
  refusal->anonymous_bytes = kGiB * 52 / 10;
  refusal->recorded_bytes = 4 * kGiB;
  refusal->recorded_blocks = 3;
  refusal->attributed_bytes = kGiB * 45 / 10;
  strcpy(refusal->module, "_multiarray_umath.cpython-311-x86_64-linux-gnu.so");
  strcpy(refusal->thread_name, "python3");
  refusal->level_count = 2;
  LevelRecord& machine = refusal->levels[0];
  machine.kind = static_cast<uint32_t>(probe::LimitKind::kMachine);
  machine.limit_bytes = 24 * kGiB;
  machine.usage_bytes = 7 * kGiB;
  LevelRecord& group = refusal->levels[1];
  group.kind = static_cast<uint32_t>(probe::LimitKind::kCgroupV1);
  group.binds = 1;
  group.limit_bytes = 6 * kGiB;
  group.usage_bytes = kGiB * 59 / 10;
  group.reclaimable_bytes = kGiB / 2;
  strcpy(group.path, "/sys/fs/cgroup/memory/x");
  refusal->block_count = 3;
  const int64_t sizes[] = {kGiB / 2, 2 * kGiB, kGiB * 3 / 2};
  for (uint32_t i = 0; i < 3; ++i) {
    refusal->blocks[i].size_bytes = sizes[i];
    refusal->blocks[i].touched_bytes = sizes[i];
    refusal->blocks[i].age_ms = 1200;
    strcpy(refusal->blocks[i].module, "libtorch_cpu.so");
  }
  refusal->neighbour_count = 1;
  refusal->neighbours[0].pid = 812;
  refusal->neighbours[0].resident_bytes = kGiB / 5;
  strcpy(refusal->neighbours[0].name, "python");
}

// All bytes of a flight file of the smallest size.
class FlightBytes {
 public:
  FlightBytes() : words_(kSmallestFlightBytes / sizeof(uint64_t)) {
    write_layout(&get()->header, kSmallestFlightBytes);
  }
  FlightFile* get() { return reinterpret_cast<FlightFile*>(words_.data()); }
  const FlightFile* get() const { return reinterpret_cast<const FlightFile*>(words_.data()); }
  FlightFile* operator->() { return get(); }
  const FlightFile* operator->() const { return get(); }
  char* bytes() { return reinterpret_cast<char*>(words_.data()); }
  static constexpr size_t size() { return kSmallestFlightBytes; }
  void write(const std::string& path, size_t bytes = kSmallestFlightBytes) {
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(words_.data()), static_cast<std::streamsize>(bytes));
  }

 private:
  std::vector<uint64_t> words_;
};

// A valid file of a session with that refusal in its first slot.
inline FlightBytes make_flight() {
  FlightBytes file;
  FlightHeader& header = file->header;
  memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kVersion;
  header.header_bytes = sizeof(FlightHeader);
  header.refusal_bytes = sizeof(RefusalRecord);
  header.refusal_slots = kRefusalSlots;
  header.pid = 4242;
  header.refusals = 3;
  strcpy(header.command, "python3 train.py");
  fill_refusal(&file->refusals[0]);
  return file;
}

}  // namespace oomguard::record
