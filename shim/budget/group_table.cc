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

bool alive(int32_t pid) { return pid > 0 && sys::call(SYS_kill, pid, 0) != -ESRCH; }

// Of this boot's clock and not older than a moment. A file that outlived a reboot holds heartbeats
// from what is the future now.
bool is_fresh(int64_t heartbeat_ns, int64_t now_ns) {
  return heartbeat_ns > now_ns - GroupTable::kFreshNs &&
         heartbeat_ns < now_ns + GroupTable::kFreshNs;
}

// Whatever a slot holds, sums of all slots stay far from overflowing.
int64_t plausible(int64_t bytes) {
  constexpr int64_t kMost = int64_t{1} << 52;
  return bytes < 0 ? 0 : bytes > kMost ? kMost : bytes;
}

bool append(char* out, size_t* used, const char* text) {
  for (; *text != '\0'; ++text) {
    if (*used + 1 >= kPath) return false;
    out[(*used)++] = *text;
  }
  out[*used] = '\0';
  return true;
}

// A descriptor of <directory>/groups, or -errno where it is not a folder that this user alone may
// write to.
int open_folder(const char* directory) {
  char path[kPath];
  size_t used = 0;
  if (directory[0] != '/') return -EINVAL;
  if (!append(path, &used, directory) || !append(path, &used, "/groups")) return -ENAMETOOLONG;
  sys::call(SYS_mkdirat, AT_FDCWD, sys::as_arg(path), 0700);
  const int fd = sys::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (fd < 0) return fd;
  struct stat status;
  if (sys::fstat(fd, &status) == 0 && (status.st_mode & 022) == 0 &&
      status.st_uid == static_cast<uid_t>(sys::call(SYS_geteuid))) {
    return fd;
  }
  sys::close(fd);
  return -EPERM;
}

// A descriptor of the group's file, or -errno where it is not a file of this user's.
int open_file(const char* directory, uint64_t key) {
  const int folder = open_folder(directory);
  if (folder < 0) return folder;
  char name[17] = "";
  for (int i = 0; i < 16; ++i) name[i] = "0123456789abcdef"[(key >> (60 - 4 * i)) & 15];
  const auto fd = static_cast<int>(
      sys::call(SYS_openat, folder, sys::as_arg(name),
                O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
  sys::close(folder);
  if (fd < 0) return fd;
  struct stat status;
  if (sys::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
      status.st_uid == static_cast<uid_t>(sys::call(SYS_geteuid))) {
    return fd;
  }
  sys::close(fd);
  return -EPERM;
}

// Makes the file large enough, with its blocks: a page that a full disk has no room for would be a
// SIGBUS. Others may have it mapped, so nothing of it is overwritten; file systems without
// fallocate get a byte in each page, in the padding behind a slot.
bool reserve_blocks(int fd, size_t size) {
  if (!sys::may_write_file_of(size)) return false;
  long result = sys::call(SYS_fallocate, fd, 0, 0, static_cast<long>(size));
  if (result != -EOPNOTSUPP && result != -ENOSYS) return result == 0;
  const char zero = 0;
  for (size_t page = 0; page < size; page += 4096) {
    const size_t last = page + 4096 < size ? page + 4095 : size - 1;
    result = sys::call(SYS_pwrite64, fd, sys::as_arg(&zero), 1, static_cast<long>(last));
    if (result != 1) return false;
  }
  return true;
}

}  // namespace

constinit GroupTable group_table;

bool GroupTable::open(const char* directory, uint64_t group_key) noexcept {
  const int fd = open_file(directory, group_key);
  if (fd < 0) return false;
  if (!reserve_blocks(fd, sizeof(File))) {
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
    if (!is_fresh(slot.heartbeat_ns.load(std::memory_order_acquire), now_ns)) continue;
    if (!alive(slot.pid.load(kRelaxed))) continue;
    ++sum.members;
    sum.pending += plausible(slot.pending.load(kRelaxed));
    sum.in_flight += plausible(slot.in_flight.load(kRelaxed));
    const int64_t growth = plausible(slot.growth.load(kRelaxed));
    sum.growth += growth;
    if (growth > sum.largest_growth) sum.largest_growth = growth;
    if (slot.tree.load(kRelaxed) != tree) continue;
    sum.tree_anonymous += plausible(slot.anonymous.load(kRelaxed));
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
