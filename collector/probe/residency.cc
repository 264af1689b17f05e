#include "collector/probe/residency.h"

#include <linux/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "collector/probe/kernel_text.h"
#include "collector/probe/mappings.h"

namespace oomguard::probe {
namespace {

constexpr PathRef kPagemap = {"/proc/self", "pagemap"};
constexpr uint64_t kExclusive = uint64_t{1} << 56;
constexpr uint64_t kFilePage = uint64_t{1} << 61;
constexpr uint64_t kSwapped = uint64_t{1} << 62;
constexpr uint64_t kPresent = uint64_t{1} << 63;
constexpr size_t kBatch = 128;  // entries of one read: 1 KiB of stack

// Of linux/fs.h since 6.7; headers are often older than the kernel they run on.
struct PageRegion {
  uint64_t start;
  uint64_t end;
  uint64_t categories;
};
struct PagemapScan {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
static_assert(sizeof(PagemapScan) == 96);
constexpr uint64_t kIsZeroPage = uint64_t{1} << 5;
constexpr unsigned long kPagemapScan = _IOWR('f', 16, PagemapScan);

// Pages of [start, end) that are the zero page, small or huge; -1 where the kernel cannot tell.
[[gnu::noinline]] int64_t zero_pages(int fd, uintptr_t start, uintptr_t end, uint32_t page_size) {
  int64_t bytes = 0;
  while (start < end) {
    PageRegion regions[16];
    PagemapScan scan{};
    scan.size = sizeof(scan);
    scan.start = start;
    scan.end = end;
    scan.vec = reinterpret_cast<uintptr_t>(regions);
    scan.vec_len = 16;
    scan.category_mask = kIsZeroPage;
    scan.return_mask = kIsZeroPage;
    const long got = sys::call(SYS_ioctl, fd, static_cast<long>(kPagemapScan), sys::as_arg(&scan));
    if (got < 0 || scan.walk_end <= start) return -1;
    for (long i = 0; i < got; ++i) {
      bytes += static_cast<int64_t>(regions[i].end - regions[i].start);
    }
    start = scan.walk_end;
  }
  return bytes / page_size;
}

// `fd` was compared with what was opened once, at the start of the call; for every page it would
// cost a third more. Another file under that number ends before such offsets.
bool read_entries(int fd, uintptr_t page, uint64_t* entries, size_t count) {
  const size_t size = count * sizeof(uint64_t);
  const int64_t offset = static_cast<int64_t>(page * sizeof(uint64_t));
  return sys::pread(fd, entries, size, offset) == static_cast<long>(size);
}

// Pages of [page, page + count) that are there. At most kBatch. -1: unknown.
[[gnu::noinline]] int64_t count_touched(int fd, uintptr_t page, size_t count, bool knows_zero_page,
                                        uint32_t page_size) {
  uint64_t entries[kBatch];
  if (!read_entries(fd, page, entries, count)) return -1;
  int64_t sure = 0;
  int64_t maybe = 0;  // the zero page, or shared by fork or by intent
  for (size_t i = 0; i < count; ++i) {
    const bool own = (entries[i] & kPresent) != 0 && (entries[i] & kExclusive) != 0;
    if (own || (entries[i] & kSwapped) != 0) {
      ++sure;
    } else if ((entries[i] & kPresent) != 0) {
      ++maybe;
    }
  }
  if (maybe == 0 || !knows_zero_page) return sure;
  const int64_t zero = zero_pages(fd, page * page_size, (page + count) * page_size, page_size);
  return zero < 0 || zero > maybe ? sure : sure + maybe - zero;
}

bool is_shared_memory(const Mapping& mapping) {
  if (mapping.of_unnamed_memory()) return true;
  struct stat folder;
  const long status =
      sys::call(SYS_newfstatat, AT_FDCWD, sys::as_arg("/dev/shm"), sys::as_arg(&folder), 0);
  return status == 0 && mapping.major == major(folder.st_dev) &&
         mapping.minor == minor(folder.st_dev);
}

// Pages of the mapping that are present and still the file's (not copied on write).
[[gnu::noinline]] int64_t present_file_pages(int fd, uintptr_t page, uintptr_t end) {
  uint64_t entries[kBatch];
  int64_t pages = 0;
  while (page < end) {
    const size_t count = end - page < kBatch ? end - page : kBatch;
    if (!read_entries(fd, page, entries, count)) return -1;
    for (size_t i = 0; i < count; ++i) {
      if ((entries[i] & (kPresent | kFilePage)) == (kPresent | kFilePage)) ++pages;
    }
    page += count;
  }
  return pages;
}

}  // namespace

bool Residency::open() {
  file_.close();
  page_size_ = static_cast<uint32_t>(page_size());
  usable_ = check_kernel();
  return usable_;
}

// The third page stays without access, so that not even mlockall(MCL_FUTURE) fills it.
bool Residency::check_kernel() {
  const long size = static_cast<long>(page_size_);
  const int fd = file_.ensure_open(kPagemap);
  if (fd < 0) return false;
  const long base = sys::call(SYS_mmap, 0, 3 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base < 0 && base > -4096) return false;
  sys::call(SYS_madvise, base, 3 * size, MADV_NOHUGEPAGE);
  uint64_t entries[3] = {};
  bool sensible = sys::call(SYS_mprotect, base, 2 * size, PROT_READ | PROT_WRITE) == 0;
  if (sensible) {
    *reinterpret_cast<volatile char*>(base) = 1;
    static_cast<void>(*reinterpret_cast<volatile char*>(base + size));
    const uintptr_t page = static_cast<uintptr_t>(base) / page_size_;
    constexpr uint64_t kOwn = kPresent | kExclusive;
    sensible = read_entries(fd, page, entries, 3) &&
               (entries[0] & (kOwn | kFilePage)) == kOwn &&
               (entries[2] & (kPresent | kSwapped)) == 0;
  }
  if (sensible) {
    const uintptr_t start = static_cast<uintptr_t>(base);
    const bool filled = (entries[1] & kExclusive) != 0;  // by mlockall
    const int64_t zero = zero_pages(fd, start, start + 3 * page_size_, page_size_);
    knows_zero_page_ = zero == (filled ? 0 : 1);
  }
  sys::call(SYS_munmap, base, 3 * size);
  return sensible;
}

int64_t Residency::touched_bytes(uintptr_t address, size_t size, uint32_t samples) const {
  uintptr_t last;
  if (!usable_ || size == 0 || __builtin_add_overflow(address, size - 1, &last)) {
    return usable_ && size == 0 ? 0 : -1;
  }
  const int fd = file_.ensure_open(kPagemap);
  if (fd < 0) return -1;
  const uintptr_t first_page = address / page_size_;
  const uintptr_t pages = last / page_size_ - first_page + 1;
  if (samples < 2) samples = 2;
  int64_t touched = 0;
  int64_t seen = 0;
  if (pages <= kBatch) {
    seen = static_cast<int64_t>(pages);
    touched = count_touched(fd, first_page, pages, knows_zero_page_, page_size_);
    if (touched < 0) return -1;
  } else {
    for (; seen < samples; ++seen) {
      const __int128 step = static_cast<__int128>(pages - 1) * seen / (samples - 1);
      const uintptr_t at = static_cast<uintptr_t>(step);
      const int64_t one = count_touched(fd, first_page + at, 1, knows_zero_page_, page_size_);
      if (one < 0) return -1;
      touched += one;
    }
  }
  return static_cast<int64_t>(static_cast<__int128>(size) * touched / seen);
}

Backing Residency::backing(uintptr_t address) const {
  const OneShot maps({"/proc/self", "maps"});
  if (!maps) return Backing::kUnknown;
  CharStream in(maps.fd());
  Mapping mapping;
  while (read_mapping(in, &mapping) && mapping.start <= address) {
    if (address >= mapping.end) continue;
    if (!mapping.of_file()) return Backing::kPrivate;
    if (mapping.shared && is_shared_memory(mapping)) return Backing::kSharedMemory;
    return mapping.of_unnamed_memory() ? Backing::kPrivate : Backing::kFile;
  }
  return Backing::kUnknown;
}

int64_t Residency::accessible_bytes() const {
  const OneShot maps({"/proc/self", "maps"});
  if (!maps) return -1;
  CharStream in(maps.fd());
  Mapping mapping;
  int64_t sum = 0;
  while (read_mapping(in, &mapping)) {
    const bool accessible = mapping.readable || mapping.writable || mapping.executable;
    if (accessible) sum += static_cast<int64_t>(mapping.end - mapping.start);
  }
  return sum;
}

bool Residency::file_pages_present(uintptr_t address, size_t size, uint64_t* present) const {
  const int fd = usable_ ? file_.ensure_open(kPagemap) : -1;
  if (fd < 0 || size == 0) return false;
  const uintptr_t last_page = (size - 1) / page_size_;
  *present = 0;
  for (unsigned i = 0; i < 64; ++i) {
    const auto at = static_cast<uintptr_t>(static_cast<unsigned __int128>(last_page) * i / 63);
    uint64_t entry;
    if (!read_entries(fd, address / page_size_ + at, &entry, 1)) return false;
    if ((entry & (kPresent | kFilePage)) == (kPresent | kFilePage)) *present |= uint64_t{1} << i;
  }
  return true;
}

int64_t Residency::resident_text() const {
  if (!usable_) return -1;
  const int fd = file_.ensure_open(kPagemap);
  const OneShot maps({"/proc/self", "maps"});
  if (fd < 0 || !maps) return -1;
  CharStream in(maps.fd());
  Mapping mapping;
  int64_t pages = 0;
  while (read_mapping(in, &mapping)) {
    if (!mapping.executable || !mapping.of_file()) continue;
    const int64_t present =
        present_file_pages(fd, mapping.start / page_size_, mapping.end / page_size_);
    if (present < 0) return -1;
    pages += present;
  }
  return pages * page_size_;
}

}  // namespace oomguard::probe
