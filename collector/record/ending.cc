#include "collector/record/ending.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

#include "collector/probe/kill_counts.h"
#include "collector/probe/syscall.h"

namespace oomguard::record {
namespace {

KillCountRecord end_of(const GroupRecord& group, bool innermost, const std::string& root) {
  KillCountRecord end{-1, -1, -1};
  const std::string path = root + group.path;
  if (group.path[0] == '\0' || probe::read_group_key(path.c_str()) != group.key) return end;
  const auto kind = static_cast<probe::LimitKind>(group.kind);
  const probe::KillCounts counts = probe::read_kill_counts(path.c_str(), kind, innermost);
  return {counts.kills, counts.hits, counts.group_kills};
}

bool write_at(int fd, const void* from, size_t size, size_t offset) {
  return ::pwrite(fd, from, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

// Of what is in the file, and of what is to come, the one that knows more stays.
bool may_write(int fd, const EndRecord& end) {
  EndRecord there{};
  if (::pread(fd, static_cast<void*>(&there), sizeof there, offsetof(FlightHeader, end)) !=
      static_cast<ssize_t>(sizeof there)) {
    return false;
  }
  return there.at_realtime_ns.load() == 0 ||
         (end.has_wait_status != 0 && there.has_wait_status == 0);
}

// Its process is gone: nobody else writes to it.
bool write_asked(int fd) {
  const auto asked = static_cast<uint32_t>(EndState::kAsked);
  return write_at(fd, &asked, sizeof asked, offsetof(FlightHeader, end_state));
}

}  // namespace

void put_end(FlightHeader* header, const Ending& ending, const std::string& root) {
  EndRecord& end = header->end;
  const std::string proc = root + "/proc";
  end.at_monotonic_ns = sys::monotonic_ns();
  end.at_realtime_ns = sys::realtime_ns();
  probe::BootId boot;
  if (probe::read_boot_id(proc.c_str(), &boot)) memcpy(end.boot_id, boot.words, sizeof boot.words);
  end.machine_kills = probe::read_machine_kills(proc.c_str());
  end.has_wait_status = ending.has_wait_status ? 1 : 0;
  end.wait_status = ending.wait_status;
  end.sender_pid = ending.sender_pid;
  const size_t length = std::min(ending.sender_name.size(), sizeof end.sender_name - 1);
  memcpy(end.sender_name, ending.sender_name.data(), length);
  end.sender_name[length] = '\0';
  const auto state = static_cast<EndState>(header->end_state.load());
  if (ending.asked && state == EndState::kRunning) {
    header->end_state = static_cast<uint32_t>(EndState::kAsked);
  }
  for (uint32_t i = 0; i < header->group_count; ++i) {
    header->groups[i].end = end_of(header->groups[i], i == 0, root);
  }
}

bool write_end(const std::string& path, const FlightHeader& header) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return false;
  bool good = may_write(fd, header.end);
  for (uint32_t i = 0; i < kGroupSlots && good; ++i) {
    good = write_at(
        fd, &header.groups[i].end, sizeof(KillCountRecord),
        offsetof(FlightHeader, groups) + i * sizeof(GroupRecord) + offsetof(GroupRecord, end));
  }
  if (static_cast<EndState>(header.end_state.load()) == EndState::kAsked) {
    good = good && write_asked(fd);
  }
  // Last: what it speaks of is there.
  good = good && write_at(fd, &header.end, sizeof(EndRecord), offsetof(FlightHeader, end));
  ::close(fd);
  return good;
}

}  // namespace oomguard::record
