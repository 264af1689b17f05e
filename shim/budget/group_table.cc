#include "shim/budget/group_table.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <iterator>

#include "collector/probe/process.h"
#include "collector/probe/syscall.h"
#include "collector/record/folder.h"
#include "shim/budget/resident.h"

namespace oomguard::budget {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr char kFileMagic[8] = {'O', 'O', 'M', 'G', 'R', 'P', '5', '\n'};
constexpr size_t kPath = 384;
constexpr int kMostAncestors = 16;
constexpr int64_t kGoesOn = 256 * 1024;
constexpr int kSweptAtOnce = 16;  // 2 us each

int32_t own_pid() { return static_cast<int32_t>(sys::call(SYS_getpid)); }

bool alive(int32_t pid) { return pid > 0 && sys::call(SYS_kill, pid, 0) != -ESRCH; }

// Ended, but perhaps not waited for yet: its memory is gone.
bool has_ended(int32_t pid) {
  constexpr long kPidfdOpen = 434;
  const long fd = sys::call(kPidfdOpen, pid, 0);
  if (fd < 0) return fd == -ESRCH;
  pollfd ended{static_cast<int>(fd), POLLIN, 0};
  timespec no_wait{0, 0};
  const long ready = sys::call(SYS_ppoll, sys::as_arg(&ended), 1, sys::as_arg(&no_wait), 0, 8);
  sys::close(static_cast<int>(fd));
  return ready == 1;
}

bool is_same(int32_t pid, uint64_t start_ticks) {
  probe::ProcessStatus status;
  return probe::read_status(pid, &status) && status.start_ticks == start_ticks;
}

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
  return record::open_private_folder(path, true);
}

// A descriptor of the group's file, or -errno where it is not a file of this user's.
int open_file(const char* directory, uint64_t key) {
  const int folder = open_folder(directory);
  if (folder < 0) return folder;
  char name[] = "0000000000000000-4";  // and the layout: programs may use two versions at once
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

// No number is given twice at one time of one boot.
uint64_t tree_of(int32_t pid, uint64_t start_ticks) {
  return start_ticks << 22 ^ static_cast<uint64_t>(pid);
}

}  // namespace

constinit GroupTable group_table;

void GroupTable::begin_tree() noexcept {
  probe::ProcessStatus self;
  if (probe::read_status(0, &self)) tree_ = tree_of(self.pid, self.start_ticks);
}

const GroupTable::Slot* GroupTable::find(int32_t pid, uint64_t start_ticks) const noexcept {
  for (const Slot& slot : file()->slots) {
    if (slot.pid.load(std::memory_order_acquire) == pid &&
        slot.start_ticks.load(kRelaxed) == start_ticks) {
      return &slot;
    }
  }
  return nullptr;
}

// A program that was executed: its own slot is what it was before, else its ancestors are asked.
void GroupTable::find_tree(int32_t pid, uint64_t start_ticks) noexcept {
  if (const Slot* before = find(pid, start_ticks); before != nullptr) {
    tree_ = before->tree.load(kRelaxed);
    origin_ = before->origin.load(kRelaxed);
    child_score_ = before->child_score.load(kRelaxed);
    return;
  }
  const bool alone = std::all_of(std::begin(file()->slots), std::end(file()->slots),
                                 [](const Slot& slot) { return slot.pid.load(kRelaxed) == 0; });
  tree_ = tree_of(pid, start_ticks);
  if (alone) return;
  int32_t ancestor = static_cast<int32_t>(sys::call(SYS_getppid));
  for (int step = 0; step < kMostAncestors && ancestor > 0; ++step) {
    probe::ProcessStatus status;
    if (!probe::read_status(ancestor, &status)) return;
    if (const Slot* slot = find(ancestor, status.start_ticks); slot != nullptr) {
      tree_ = slot->tree.load(kRelaxed);
      origin_ = ancestor;
      child_score_ = slot->child_score.load(kRelaxed);
      return;
    }
    ancestor = status.parent_pid;
  }
}

bool GroupTable::open(const char* directory, uint64_t group_key, uint64_t budget) noexcept {
  probe::ProcessStatus self;
  if (!probe::read_status(0, &self)) return false;
  pid_ = self.pid;
  budget_ = budget;
  const int fd = open_file(directory, group_key);
  if (fd < 0) return false;
  if (!reserve_blocks(fd, sizeof(File))) {
    sys::close(fd);
    return false;
  }
  const long mapped =
      sys::call(SYS_mmap, 0, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  sys::close(fd);
  if (mapped < 0 && mapped > -4096) return false;
  file_.store(reinterpret_cast<File*>(mapped), std::memory_order_release);
  memcpy(file()->magic, kFileMagic, sizeof kFileMagic);
  if (tree_ == 0) find_tree(pid_, self.start_ticks);
  for (Slot& slot : file()->slots) {  // its own of before an exec
    if (slot.pid.load(kRelaxed) == pid_ && slot.start_ticks.load(kRelaxed) == self.start_ticks)
      slot.pid.store(0);
  }
  for (Slot& slot : file()->slots) {
    int32_t owner = slot.pid.load(kRelaxed);
    if (owner != 0 && owner != pid_ && alive(owner)) continue;
    if (!slot.pid.compare_exchange_strong(owner, pid_, std::memory_order_acq_rel)) continue;
    slot.pending.store(0, kRelaxed);
    slot.in_flight.store(0, kRelaxed);
    slot.growth.store(0, kRelaxed);
    slot.pace.store(0, kRelaxed);
    slot.ends_ns.store(0, kRelaxed);
    slot.stands_ns.store(0, kRelaxed);
    slot.bytes.store(0, kRelaxed);
    for (std::atomic<int64_t>& bytes : file()->held[&slot - file()->slots]) {
      if (bytes.load(kRelaxed) != 0) bytes.store(0, kRelaxed);
    }
    slot.start_ticks.store(self.start_ticks, kRelaxed);
    slot.tree.store(tree_, kRelaxed);
    slot.budget.store(budget, kRelaxed);
    slot.origin.store(origin_, kRelaxed);
    slot.child_score.store(child_score_, kRelaxed);
    slot.heartbeat_ns.store(sys::monotonic_ns(), std::memory_order_release);
    own_.store(&slot, std::memory_order_release);
    return true;
  }
  return false;
}

void GroupTable::close_in_child() noexcept {
  if (file() != nullptr) sys::call(SYS_munmap, sys::as_arg(file()), sizeof(File));
  file_.store(nullptr);
  own_.store(nullptr);
  origin_ = pid_;
}

void GroupTable::leave() noexcept {
  Slot* slot = own();
  if (slot != nullptr && slot->pid.load(kRelaxed) == own_pid()) slot->pid.store(0);
  own_.store(nullptr);
}

GroupTable::Others GroupTable::others(int64_t now_ns, uint64_t tree) const noexcept {
  Others sum{};
  if (file() == nullptr) return sum;
  for (const Slot& slot : file()->slots) {
    if (&slot == own() || slot.pid.load(std::memory_order_acquire) == 0) continue;
    const bool is_relative = slot.tree.load(kRelaxed) == tree &&
                             slot.budget.load(kRelaxed) == budget_;
    const bool fresh = is_fresh(slot.heartbeat_ns.load(std::memory_order_acquire), now_ns);
    if ((!fresh && !is_relative) || !alive(slot.pid.load(kRelaxed))) continue;
    // A stopped process holds what it held.
    if (is_relative) sum.tree_bytes += plausible(slot.bytes.load(kRelaxed));
    if (!fresh) continue;
    ++sum.members;
    sum.pending += plausible(slot.pending.load(kRelaxed));
    sum.in_flight += plausible(slot.in_flight.load(kRelaxed));
    const int64_t growth = plausible(slot.growth.load(kRelaxed));
    sum.growth += growth;
    const int64_t pace = plausible(slot.pace.load(kRelaxed));
    sum.pace += pace;
    sum.ends |= is_fresh(slot.ends_ns.load(kRelaxed), now_ns);
    sum.goes_on |= pace > 0 && growth >= kGoesOn;
    sum.stands_before |= is_fresh(slot.stands_ns.load(kRelaxed), now_ns) &&
                         slot.pid.load(kRelaxed) < pid_;
    // Who stands still for another one does not act.
    if (pace > 0 && growth > sum.largest_growth) sum.largest_growth = growth;
  }
  return sum;
}

void GroupTable::refresh_others(int64_t now_ns) noexcept {
  if (file() == nullptr) return;
  bool asked = false;
  for (Slot& slot : file()->slots) {
    if (&slot == own() || slot.pid.load(kRelaxed) == 0) continue;
    if (slot.in_flight.load(kRelaxed) <= 0) continue;
    slot.wake.fetch_add(1, std::memory_order_release);
    sys::call(SYS_futex, sys::as_arg(&slot.wake), FUTEX_WAKE, 1);
    asked = true;
  }
  for (int i = 0; asked && i < 6; ++i) {
    timespec pause{0, 500'000};
    sys::call(SYS_nanosleep, sys::as_arg(&pause), 0);
    asked = false;
    for (const Slot& slot : file()->slots) {
      if (&slot == own() || slot.pid.load(kRelaxed) == 0) continue;
      if (slot.in_flight.load(kRelaxed) > 0 && slot.heartbeat_ns.load(kRelaxed) < now_ns)
        asked = true;
    }
  }
}

void GroupTable::set_child_score(int32_t score) noexcept {
  child_score_ = score;
  if (Slot* slot = own(); slot != nullptr) slot->child_score.store(score, kRelaxed);
}

void GroupTable::sweep(int64_t now_ns) noexcept {
  if (file() == nullptr) return;
  int looked = 0;
  for (uint32_t i = 0; i < kSlots && looked < kSweptAtOnce; ++i) {
    Slot& slot = file()->slots[swept_++ % kSlots];
    int32_t pid = slot.pid.load(std::memory_order_acquire);
    if (pid == 0 || &slot == own()) continue;
    ++looked;
    const bool fresh = is_fresh(slot.heartbeat_ns.load(kRelaxed), now_ns);
    if (has_ended(pid) || (!fresh && !is_same(pid, slot.start_ticks.load(kRelaxed)))) {
      slot.pid.compare_exchange_strong(pid, 0, std::memory_order_acq_rel);
    }
  }
}

void GroupTable::add_in_flight(int64_t bytes) noexcept {
  Slot* slot = own();
  if (slot == nullptr) return;
  int64_t before = slot->in_flight.load(kRelaxed);
  while (!slot->in_flight.compare_exchange_weak(before, std::max<int64_t>(0, before + bytes),
                                                std::memory_order_acq_rel)) {
  }
}

std::atomic<int64_t>* GroupTable::card(uint64_t key) noexcept {
  const Slot* slot = own();
  if (file() == nullptr || slot == nullptr) return nullptr;
  for (uint32_t i = 0; i < kCards; ++i) {
    uint64_t seen = 0;
    if (file()->cards[i].compare_exchange_strong(seen, key) || seen == key)
      return &file()->held[slot - file()->slots][i];
  }
  return nullptr;
}

int64_t GroupTable::others_on_card(const std::atomic<int64_t>* own_place) const noexcept {
  if (file() == nullptr) return 0;
  const auto column = static_cast<size_t>(own_place - &file()->held[0][0]) % kCards;
  int64_t sum = 0;
  for (uint32_t i = 0; i < kSlots; ++i) {
    const Slot& slot = file()->slots[i];
    const int64_t bytes = plausible(file()->held[i][column].load());
    if (bytes == 0 || &file()->held[i][column] == own_place || slot.tree.load(kRelaxed) != tree_)
      continue;
    if (alive(slot.pid.load(kRelaxed))) sum += bytes;
  }
  return sum;
}

bool GroupTable::guarded(int32_t pid) const noexcept {
  if (file() == nullptr) return false;
  for (const Slot& slot : file()->slots) {
    if (slot.pid.load(kRelaxed) == pid) return true;
  }
  return false;
}

void GroupTable::keep_resident() const noexcept {
  if (const File* table = file()) resident::keep(table, sizeof *table);
}

}  // namespace oomguard::budget
