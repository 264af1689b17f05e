#include "shim/budget/group_table.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>

#include "collector/probe/syscall.h"

namespace oomguard::budget {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr char kFileMagic[8] = {'O', 'O', 'M', 'G', 'R', 'P', '1', '\n'};
constexpr size_t kPath = 384;

int32_t own_pid() { return static_cast<int32_t>(sys::call(SYS_getpid)); }

bool alive(int32_t pid) { return sys::call(SYS_kill, pid, 0) != -ESRCH; }

bool append(char* out, size_t* used, const char* text) {
  for (; *text != '\0'; ++text) {
    if (*used + 1 >= kPath) return false;
    out[(*used)++] = *text;
  }
  out[*used] = '\0';
  return true;
}

bool table_path(const char* directory, uint64_t key, char* out) {
  size_t used = 0;
  if (!append(out, &used, directory) || !append(out, &used, "/groups")) return false;
  sys::call(SYS_mkdirat, AT_FDCWD, sys::as_arg(out), 0700);
  char name[24] = "/";
  for (int i = 0; i < 16; ++i) name[1 + i] = "0123456789abcdef"[(key >> (60 - 4 * i)) & 15];
  return append(out, &used, name);
}

}  // namespace

constinit GroupTable group_table;

bool GroupTable::open(const char* directory, uint64_t group_key) noexcept {
  char path[kPath];
  if (!table_path(directory, group_key, path)) return false;
  const int fd = sys::open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  if (fd < 0) return false;
  struct stat status;
  const bool mine = sys::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
                    status.st_uid == static_cast<uid_t>(sys::call(SYS_geteuid));
  if (!mine || (static_cast<size_t>(status.st_size) < sizeof(File) &&
                sys::call(SYS_ftruncate, fd, sizeof(File)) != 0)) {
    sys::close(fd);
    return false;
  }
  const long mapped = sys::call(SYS_mmap, 0, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  sys::close(fd);
  if (mapped < 0 && mapped > -4096) return false;
  file_ = reinterpret_cast<File*>(mapped);
  memcpy(file_->magic, kFileMagic, sizeof kFileMagic);
  const int32_t pid = own_pid();
  for (Slot& slot : file_->slots) {
    int32_t owner = slot.pid.load(kRelaxed);
    if (owner != 0 && owner != pid && alive(owner)) continue;
    if (!slot.pid.compare_exchange_strong(owner, pid, std::memory_order_acq_rel)) continue;
    slot.pending.store(0, kRelaxed);
    slot.in_flight.store(0, kRelaxed);
    slot.growth.store(0, kRelaxed);
    slot.anonymous.store(0, kRelaxed);
    slot.tree.store(static_cast<int32_t>(sys::call(SYS_getpgid, 0)), kRelaxed);
    slot.heartbeat_ns.store(sys::monotonic_ns(), std::memory_order_release);
    own_ = &slot;
    return true;
  }
  return false;
}

void GroupTable::close_in_child() noexcept {
  if (file_ != nullptr) sys::call(SYS_munmap, sys::as_arg(file_), sizeof(File));
  file_ = nullptr;
  own_ = nullptr;
}

void GroupTable::leave() noexcept {
  if (own_ != nullptr && own_->pid.load(kRelaxed) == own_pid()) own_->pid.store(0);
  own_ = nullptr;
}

GroupTable::Others GroupTable::others(int64_t now_ns, int32_t tree) const noexcept {
  Others sum{};
  if (file_ == nullptr) return sum;
  for (const Slot& slot : file_->slots) {
    if (&slot == own_ || slot.pid.load(std::memory_order_acquire) == 0) continue;
    if (now_ns - slot.heartbeat_ns.load(std::memory_order_acquire) > kFreshNs) continue;
    if (!alive(slot.pid.load(kRelaxed))) continue;
    ++sum.members;
    const auto positive = [](int64_t value) { return value > 0 ? value : 0; };
    sum.pending += positive(slot.pending.load(kRelaxed));
    sum.in_flight += positive(slot.in_flight.load(kRelaxed));
    const int64_t growth = positive(slot.growth.load(kRelaxed));
    sum.growth += growth;
    if (growth > sum.largest_growth) sum.largest_growth = growth;
    if (slot.tree.load(kRelaxed) == tree) sum.tree_anonymous += positive(slot.anonymous.load(kRelaxed));
  }
  return sum;
}

void GroupTable::refresh_others(int64_t now_ns) noexcept {
  if (file_ == nullptr) return;
  bool asked = false;
  for (Slot& slot : file_->slots) {
    if (&slot == own_ || slot.pid.load(kRelaxed) == 0) continue;
    if (slot.in_flight.load(kRelaxed) <= 0) continue;
    slot.wake.fetch_add(1, std::memory_order_release);
    sys::call(SYS_futex, sys::as_arg(&slot.wake), FUTEX_WAKE, 1);
    asked = true;
  }
  for (int i = 0; asked && i < 6; ++i) {
    timespec pause{0, 500'000};
    sys::call(SYS_nanosleep, sys::as_arg(&pause), 0);
    asked = false;
    for (const Slot& slot : file_->slots) {
      if (&slot == own_ || slot.pid.load(kRelaxed) == 0) continue;
      if (slot.in_flight.load(kRelaxed) > 0 && slot.heartbeat_ns.load(kRelaxed) < now_ns) asked = true;
    }
  }
}

bool GroupTable::guarded(int32_t pid) const noexcept {
  if (file_ == nullptr) return false;
  for (const Slot& slot : file_->slots) {
    if (slot.pid.load(kRelaxed) == pid) return true;
  }
  return false;
}

}  // namespace oomguard::budget
