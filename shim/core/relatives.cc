#include "shim/core/relatives.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "collector/probe/directory.h"
#include "collector/probe/syscall.h"
#include "shim/budget/gate.h"
#include "shim/budget/group_table.h"
#include "shim/budget/refusal_record.h"
#include "shim/core/session.h"

namespace oomguard::relatives {
namespace {

using record::FlightFile;
using record::RefusalRecord;

// A mapped flight file of this user's, or nothing.
class Mapped {
 public:
  Mapped(int folder, const char* name) noexcept {
    const auto fd = static_cast<int>(sys::call(SYS_openat, folder, sys::as_arg(name),
                                               O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (fd < 0) return;
    struct stat status;
    if (sys::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
        status.st_size >= static_cast<long>(sizeof(FlightFile)) &&
        status.st_uid == static_cast<uid_t>(sys::call(SYS_geteuid))) {
      const long at =
          sys::call(SYS_mmap, 0, sizeof(FlightFile), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      if (at > 0 || at < -4095) file_ = reinterpret_cast<FlightFile*>(at);
    }
    sys::close(fd);
  }
  ~Mapped() {
    if (file_ != nullptr) sys::call(SYS_munmap, sys::as_arg(file_), sizeof(FlightFile));
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  FlightFile* file() const noexcept { return file_; }

 private:
  FlightFile* file_ = nullptr;
};

// The tree's root has started all of it, directly or through others.
bool is_childs(const record::FlightHeader& header) noexcept {
  const record::FlightHeader& own = session::file()->header;
  return memcmp(header.magic, record::kMagic, sizeof header.magic) == 0 &&
         header.version == record::kVersion && header.refusal_bytes == sizeof(RefusalRecord) &&
         header.refusals.load() != 0 && header.tree != 0 && header.pid != own.pid &&
         header.tree == budget::group_table.tree() &&
         (budget::group_table.origin() == 0 || header.parent_pid == own.pid);
}

RefusalRecord* newest_unseen(FlightFile* file) noexcept {
  RefusalRecord* newest = nullptr;
  for (RefusalRecord& refusal : file->refusals) {
    if (refusal.sequence.load(std::memory_order_acquire) == 0 || refusal.surfaced != 0) continue;
    if (newest == nullptr || refusal.at_realtime_ns > newest->at_realtime_ns) newest = &refusal;
  }
  return newest;
}

struct Found {
  char name[64] = "";
  int64_t at_realtime_ns = INT64_MIN;
};

Found find_newest(int folder) noexcept {
  Found found;
  sys::for_each_entry(folder, [&](const char* name) {
    if (name[0] == '.' || strnlen(name, sizeof found.name) == sizeof found.name) return;
    const Mapped flight(folder, name);
    if (flight.file() == nullptr || !is_childs(flight.file()->header)) return;
    const RefusalRecord* refusal = newest_unseen(flight.file());
    if (refusal == nullptr || refusal->at_realtime_ns <= found.at_realtime_ns) return;
    found.at_realtime_ns = refusal->at_realtime_ns;
    strcpy(found.name, name);
  });
  return found;
}

}  // namespace

uint64_t adopt_refusal() noexcept {
  const int folder = session::open_folder();
  if (folder < 0) return 0;
  const Found found = find_newest(folder);
  uint64_t number = 0;
  if (found.name[0] != '\0') {
    const Mapped flight(folder, found.name);
    RefusalRecord* refusal = flight.file() != nullptr ? newest_unseen(flight.file()) : nullptr;
    if (refusal != nullptr) {
      number = budget::adopt_record(*refusal);
      refusal->surfaced = 1;
      flight.file()->header.surfaced.fetch_add(1, std::memory_order_relaxed);
    }
  }
  sys::close(folder);
  return number;
}

}  // namespace oomguard::relatives
