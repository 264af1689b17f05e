#include "collector/record/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <utility>

#include "collector/record/layout.h"
#include "collector/record/read_at.h"
#include "collector/record/reader_sections.h"

namespace oomguard::record {
namespace {

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&&) = delete;
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

Error unreadable(const std::string& path, const std::string& why) {
  return Error{path + ": " + why, 1};
}

// Read on a machine that has its bytes the other way round, a small version looks large.
bool is_other_byte_order(uint32_t version) {
  return version > 0xffff && __builtin_bswap32(version) <= 0xffff;
}

bool is_layout(const FlightHeader& header) {
  if (!is_flight_size(header.file_bytes)) return false;
  const Layout layout = layout_for(header.file_bytes);
  for (uint32_t i = 0; i < kSectionCount; ++i) {
    const SectionRecord& section = header.sections[i];
    const Layout::Place& place = layout.sections[i];
    if (section.offset_bytes != place.offset_bytes || section.record_bytes != place.record_bytes ||
        section.capacity != place.capacity) {
      return false;
    }
  }
  return true;
}

// Empty where the header is one that this reader knows.
std::string header_fault(const FlightHeader& header) {
  if (memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) return "not a flight file of oomguard";
  if (is_other_byte_order(header.version)) return "written on a machine with another byte order";
  if (header.version != kVersion) {
    return "written by another version of oomguard (format " + std::to_string(header.version) +
           ", this one reads format " + std::to_string(kVersion) + ")";
  }
  if (header.header_bytes != sizeof(FlightHeader) ||
      header.refusal_bytes != sizeof(RefusalRecord) || header.refusal_slots != kRefusalSlots ||
      !is_layout(header)) {
    return "damaged: its sizes are not those of its format";
  }
  return "";
}

template <size_t N>
void end_string(char (&text)[N]) {
  text[N - 1] = '\0';
}

void make_safe(FlightHeader* header) {
  end_string(header->program);
  end_string(header->command);
  end_string(header->connection_file);
  end_string(header->limit_path);
  end_string(header->ended_because);
  end_string(header->reread.file);
  header->group_count = std::min(header->group_count, kGroupSlots);
  for (GroupRecord& group : header->groups) end_string(group.path);
  end_string(header->end.sender_name);
  end_string(header->notebook);
  end_string(header->cell_source);
  for (CellRecord& cell : header->cells) end_string(cell.file);
  for (GpuRecord& gpu : header->gpus) end_string(gpu.name);
  if (header->end_state.load() > static_cast<uint32_t>(EndState::kAsked)) {
    header->end_state = static_cast<uint32_t>(EndState::kRunning);
  }
}

void make_safe(RefusalRecord* refusal) {
  end_string(refusal->module);
  end_string(refusal->thread_name);
  end_string(refusal->where);
  refusal->level_count = std::min(refusal->level_count, kLevelSlots);
  refusal->block_count = std::min(refusal->block_count, kBlockSlots);
  refusal->neighbour_count = std::min(refusal->neighbour_count, kNeighbourSlots);
  for (LevelRecord& level : refusal->levels) end_string(level.path);
  for (BlockRecord& block : refusal->blocks) end_string(block.module);
  for (NeighbourRecord& neighbour : refusal->neighbours) end_string(neighbour.name);
  refusal->holder_count = std::min(refusal->holder_count, kHolderSlots);
  for (HolderRecord& holder : refusal->holders) {
    end_string(holder.file);
    end_string(holder.function);
  }
}

// The record did not change while it was read: its writer sets `sequence` to 0 first and to the new
// number last.
bool is_whole(int fd, const FlightFile& file, uint32_t slot) {
  const uint64_t sequence = file.refusals[slot].sequence.load();
  if (sequence == 0) return false;
  uint64_t now = 0;
  const size_t offset = offsetof(FlightFile, refusals) + slot * sizeof(RefusalRecord) +
                        offsetof(RefusalRecord, sequence);
  return read_at(fd, &now, sizeof(now), static_cast<off_t>(offset)) && now == sequence;
}

Result<Fd> open_flight(const std::string& path, FlightHeader* header) {
  // O_NONBLOCK: a pipe under that name must not hold the reader up.
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (fd.get() < 0) return unreadable(path, strerror(errno));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return unreadable(path, strerror(errno));
  if (!S_ISREG(info.st_mode)) return unreadable(path, "not a regular file");
  if (!read_at(fd.get(), header, sizeof(FlightHeader), 0)) {
    return unreadable(path, "too short for a flight file of oomguard");
  }
  const std::string fault = header_fault(*header);
  if (!fault.empty()) return unreadable(path, fault);
  if (static_cast<uint64_t>(info.st_size) < header->file_bytes) {
    return unreadable(path, "damaged: it ends before its last record");
  }
  make_safe(header);
  return fd;
}

}  // namespace

Result<std::unique_ptr<FlightHeader>> read_header(const std::string& path) {
  auto header = std::make_unique<FlightHeader>();
  const auto fd = open_flight(path, header.get());
  if (!fd) return fd.error();
  return header;
}

Result<Flight> read_flight(const std::string& path) {
  auto file = std::make_unique<FlightFile>();
  const auto opened = open_flight(path, &file->header);
  if (!opened) return opened.error();
  const int fd = opened->get();
  if (!read_at(fd, file->refusals, sizeof(file->refusals), offsetof(FlightFile, refusals))) {
    return unreadable(path, "damaged: it ends before its last record");
  }
  Flight flight;
  flight.path_ = path;
  for (uint32_t slot = 0; slot < kRefusalSlots; ++slot) {
    if (!is_whole(fd, *file, slot)) continue;
    make_safe(&file->refusals[slot]);
    flight.refusals_.push_back(&file->refusals[slot]);
  }
  std::sort(flight.refusals_.begin(), flight.refusals_.end(),
            [](const RefusalRecord* a, const RefusalRecord* b) {
              return a->sequence.load() < b->sequence.load();
            });
  flight.file_ = std::move(file);
  SectionReader(fd, &flight).read();
  return flight;
}

bool is_running(const FlightHeader& header) {
  if (header.pid <= 0) return false;
  std::ifstream stat("/proc/" + std::to_string(header.pid) + "/stat");
  std::string text;
  if (!std::getline(stat, text)) return false;
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos || name_end + 2 >= text.size()) return false;
  const char state = text[name_end + 2];
  if (state == 'Z' || state == 'X') return false;
  size_t at = name_end;
  for (int field = 2; field < 22; ++field) {
    at = text.find(' ', at + 1);
    if (at == std::string::npos) return false;
  }
  return strtoull(text.c_str() + at, nullptr, 10) == header.start_ticks;
}

}  // namespace oomguard::record
