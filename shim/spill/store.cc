#include "shim/spill/store.h"

#include <errno.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>

#include "collector/probe/kernel_file.h"
#include "collector/probe/paths.h"
#include "collector/probe/syscall.h"

namespace oomguard::spill {
namespace {

using budget::kMiB;

constexpr Bytes kLargestDefault = 2048 * kMiB;
constexpr Bytes kLeastRoom = 256 * kMiB;
constexpr Bytes kKeptFree = 64 * kMiB;
constexpr uint64_t kOverlay = 0x794c7630;
constexpr size_t kTrial = 64 * 1024;

// Local disks whose files count what was written to them at once, and can be punched. Everything
// unknown is left alone: tmpfs is memory, network file systems hang.
bool is_local_disk(uint64_t type) {
  switch (type) {
    case 0xEF53:      // ext2, ext3, ext4
    case 0x58465342:  // xfs
    case 0x9123683E:  // btrfs
    case 0xF2F52010:  // f2fs
    case 0xCA451A4E:  // bcachefs
    case 0x3153464A:  // jfs
    case kOverlay:
      return true;
    default:
      return false;
  }
}

int open_unlinked(const char* directory) {
  int fd = sys::open(directory, O_TMPFILE | O_RDWR, 0600);
  if (fd >= 0 || fd == -ENOENT || fd == -EACCES || fd == -EROFS) return fd;
  char path[288] = "";
  const char* name = "/.oomguard-lent";
  if (!probe::append_text(path, sizeof path, directory) ||
      !probe::append_text(path, sizeof path, name)) {
    return -ENAMETOOLONG;
  }
  fd = sys::open(path, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR, 0600);
  if (fd >= 0) sys::call(SYS_unlinkat, AT_FDCWD, sys::as_arg(path), 0);
  return fd;
}

bool free_space(int fd, Bytes* bytes, uint64_t* type) {
  struct statfs status;
  if (sys::call(SYS_fstatfs, fd, sys::as_arg(&status)) != 0) return false;
  *type = static_cast<uint64_t>(status.f_type) & 0xffffffff;
  const __int128 free = static_cast<__int128>(status.f_bavail) * status.f_bsize;
  *bytes = free > INT64_MAX ? INT64_MAX : static_cast<Bytes>(free);
  return true;
}

constinit char g_zeros[4096];

}  // namespace

const char* Store::open(const char* directory, Bytes cap, Bytes limit) noexcept {
  close();
  const int fd = open_unlinked(directory);
  if (fd < 0) return "its folder cannot be written to";
  fd_ = fd;
  next_ = 0;
  const char* problem = check(cap, limit);
  if (problem[0] != '\0') close();
  return problem;
}

// A trial shows what statfs does not: a quota, and whether written and punched bytes are counted.
const char* Store::check(Bytes cap, Bytes limit) noexcept {
  Bytes free;
  uint64_t type;
  if (!free_space(fd_, &free, &type) || !is_local_disk(type))
    return "its folder is not on a local disk";
  const Bytes computed = std::min({kLargestDefault, limit, free / 4});
  cap_ = cap < 0 ? computed : cap;
  if (free < kLeastRoom) return "the disk is nearly full";
  uint64_t offset;
  if (!reserve(kTrial, &offset)) return "RLIMIT_FSIZE is in the way";
  // An overlay does not say what it lies on. tmpfs knows no zeroing of ranges, disks do.
  if (type == kOverlay && sys::call(SYS_fallocate, fd_, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                    static_cast<long>(offset), static_cast<long>(kTrial)) != 0) {
    return "its folder is not on a local disk";
  }
  for (size_t at = 0; at < kTrial; at += sizeof g_zeros) {
    if (!write(offset + at, g_zeros, sizeof g_zeros)) return "the disk is full, or a quota is";
  }
  const bool counted = used() >= static_cast<Bytes>(kTrial);
  punch(offset, kTrial);
  if (!counted || used() >= static_cast<Bytes>(kTrial)) return "its file system does not count";
  return identify() ? "" : "its folder is not on a local disk";
}

// What /proc/self/maps says of a mapping of it.
bool Store::identify() noexcept {
  const long size = static_cast<long>(probe::page_size());
  const long address = sys::call(SYS_mmap, 0, size, PROT_READ, MAP_SHARED, fd_, 0);
  if (address < 0 && address > -4096) return false;
  bool found = false;
  if (const probe::OneShot maps({"/proc/thread-self", "maps"}); maps) {
    probe::CharStream in(maps.fd());
    probe::Mapping mapping;
    while (!found && probe::read_mapping(in, &mapping)) {
      found = mapping.start == static_cast<uintptr_t>(address);
    }
    major_ = mapping.major;
    minor_ = mapping.minor;
    inode_ = mapping.inode;
  }
  sys::call(SYS_munmap, address, size);
  return found && inode_ != 0;
}

bool Store::is_open() noexcept {
  struct stat status;
  return fd_ >= 0 && sys::fstat(fd_, &status) == 0;
}

void Store::close() noexcept {
  if (fd_ >= 0) sys::close(fd_);
  fd_ = -1;
}

bool Store::reserve(uint64_t size, uint64_t* offset) noexcept {
  const uint64_t page = static_cast<uint64_t>(probe::page_size());
  const uint64_t end = next_ + (size + page - 1) / page * page;
  if (end < next_ || !sys::may_write_file_of(end)) return false;
  if (sys::call(SYS_ftruncate, fd_, static_cast<long>(end)) != 0) return false;
  *offset = next_;
  next_ = end;
  return true;
}

bool Store::write(uint64_t offset, const void* data, size_t size) noexcept {
  const char* from = static_cast<const char*>(data);
  while (size > 0) {
    const long put = sys::call(SYS_pwrite64, fd_, sys::as_arg(from), static_cast<long>(size),
                               static_cast<long>(offset));
    if (put <= 0) return false;
    from += put;
    offset += static_cast<uint64_t>(put);
    size -= static_cast<size_t>(put);
  }
  return true;
}

bool Store::read(uint64_t offset, void* out, size_t size) noexcept {
  char* to = static_cast<char*>(out);
  while (size > 0) {
    const long got = sys::pread(fd_, to, size, static_cast<int64_t>(offset));
    if (got <= 0) return false;
    to += got;
    offset += static_cast<uint64_t>(got);
    size -= static_cast<size_t>(got);
  }
  return true;
}

void Store::punch(uint64_t offset, uint64_t size) noexcept {
  sys::call(SYS_fallocate, fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            static_cast<long>(offset), static_cast<long>(size));
}

bool Store::next_data(uint64_t from, uint64_t end, uint64_t* data, uint64_t* hole) noexcept {
  const uint64_t page = static_cast<uint64_t>(probe::page_size());
  const long start = sys::call(SYS_lseek, fd_, static_cast<long>(from), SEEK_DATA);
  if (start == -ENXIO || start >= static_cast<long>(end)) return false;
  *data = from;  // where it cannot be told, all of it counts as written
  if (hole != nullptr) *hole = end;
  if (start < 0) return true;
  *data = std::max(from, static_cast<uint64_t>(start) / page * page);
  if (hole == nullptr) return true;
  const long stop = sys::call(SYS_lseek, fd_, start, SEEK_HOLE);
  if (stop > 0) *hole = std::min(end, (static_cast<uint64_t>(stop) + page - 1) / page * page);
  return true;
}

Bytes Store::data_in(uint64_t from, uint64_t end) noexcept {
  Bytes sum = 0;
  uint64_t data = from;
  uint64_t hole = end;
  for (; from < end && next_data(from, end, &data, &hole); from = hole) {
    sum += static_cast<Bytes>(hole - data);
  }
  return sum;
}

Bytes Store::used() noexcept {
  struct stat status;
  if (fd_ < 0 || sys::fstat(fd_, &status) != 0) return 0;
  return static_cast<Bytes>(status.st_blocks) * 512;
}

Bytes Store::left(Bytes used) noexcept {
  Bytes free;
  uint64_t type;
  if (fd_ < 0 || !free_space(fd_, &free, &type)) return 0;
  return std::max<Bytes>(0, std::min(cap_ - used, free - kKeptFree));
}

}  // namespace oomguard::spill
