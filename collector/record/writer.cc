#include "collector/record/writer.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "collector/probe/syscall.h"
#include "collector/record/mask.h"

namespace oomguard::record {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr uint64_t kFreeTimes = 4;      // of a disk's free space no more than a quarter
constexpr int64_t kMemoryShare = 512;   // of the limit, where the file itself is memory

bool is_error(long result) { return result < 0 && result > -4096; }

// Blocks for the whole file. File systems without fallocate get a byte written in each page of a
// file of the smallest size, which reserves as well.
int reserve_blocks(int fd, uint64_t* bytes, bool exactly) {
  if (!sys::may_write_file_of(*bytes)) return -EFBIG;
  long result = sys::call(SYS_ftruncate, fd, static_cast<long>(*bytes));
  if (result == 0) result = sys::call(SYS_fallocate, fd, 0, 0, static_cast<long>(*bytes));
  if (result != -EOPNOTSUPP && result != -ENOSYS) return static_cast<int>(result);
  if (!exactly) *bytes = kSmallestFlightBytes;
  result = sys::call(SYS_ftruncate, fd, static_cast<long>(*bytes));
  const char zero = 0;
  for (uint64_t at = 0; result >= 0 && at < *bytes; at += kPageBytes) {
    result = sys::call(SYS_pwrite64, fd, sys::as_arg(&zero), 1, static_cast<long>(at));
  }
  return result < 0 ? static_cast<int>(result) : 0;
}

Medium medium_of(int fd) {
  struct statfs info;
  if (sys::call(SYS_fstatfs, fd, sys::as_arg(&info)) != 0) return {INT64_MAX, false};
  const auto kind = static_cast<unsigned long>(info.f_type);
  __int128 free = info.f_bavail;
  free *= info.f_bsize;
  return {free < INT64_MAX ? static_cast<int64_t>(free) : INT64_MAX,
          kind == TMPFS_MAGIC || kind == RAMFS_MAGIC};
}

// Reserves as much as can be had, at most *bytes; what was reserved is in it.
int reserve(int fd, int64_t limit_bytes, uint64_t* bytes) {
  *bytes = affordable_bytes(*bytes, medium_of(fd), limit_bytes);
  int error = -ENOSPC;
  while (*bytes != 0) {
    error = reserve_blocks(fd, bytes, false);
    if (error != -ENOSPC && error != -EDQUOT && error != -EFBIG) return error;
    *bytes = flight_size(*bytes / 2);
  }
  return error;
}

size_t read_file(const char* path, char* buffer, size_t capacity) {
  const int fd = sys::open(path, O_RDONLY);
  if (fd < 0) return 0;
  size_t size = 0;
  while (size < capacity) {
    const long got = sys::read(fd, buffer + size, capacity - size);
    if (got <= 0) break;
    size += static_cast<size_t>(got);
  }
  sys::close(fd);
  return size;
}

[[gnu::noinline]] void fill_command(FlightHeader* header) {
  // Masked before it reaches the file, which others of this user may read at any instant.
  char arguments[1024];
  const size_t size = read_file("/proc/self/cmdline", arguments, sizeof(arguments));
  mask_command(arguments, size, header->command, sizeof(header->command));
}

// Field 22 of /proc/self/stat. The program's name, field 2, may hold anything, so count from its
// closing parenthesis.
[[gnu::noinline]] uint64_t start_ticks() {
  char text[512];
  const size_t size = read_file("/proc/self/stat", text, sizeof(text) - 1);
  text[size] = '\0';
  const char* at = strrchr(text, ')');
  for (int field = 2; at != nullptr && field < 22; ++field) {
    at = strchr(at + 1, ' ');
  }
  uint64_t ticks = 0;
  for (at = at != nullptr ? at + 1 : ""; *at >= '0' && *at <= '9'; ++at) {
    ticks = ticks * 10 + static_cast<uint64_t>(*at - '0');
  }
  return ticks;
}

template <size_t N>
void copy_text(char (&out)[N], const char* text) {
  const size_t length = strnlen(text, N - 1);
  memcpy(out, text, length);
  out[length] = '\0';
}

void fill_header(FlightHeader* header, const Start& start) {
  header->version = kVersion;
  header->header_bytes = sizeof(FlightHeader);
  header->refusal_bytes = sizeof(RefusalRecord);
  header->refusal_slots = kRefusalSlots;
  header->pid = static_cast<int32_t>(sys::call(SYS_getpid));
  header->parent_pid = static_cast<int32_t>(sys::call(SYS_getppid));
  header->uid = static_cast<uint32_t>(sys::call(SYS_geteuid));
  header->start_ticks = start_ticks();
  header->start_realtime_ns = sys::realtime_ns();
  header->start_monotonic_ns = sys::monotonic_ns();
  header->start_oom_kills = start.oom_kills;
  header->limit_bytes = start.limit_bytes;
  header->reserve_bytes = start.reserve_bytes;
  header->tree = start.tree;
  copy_text(header->limit_path, start.limit_path);
  const long length = sys::call(SYS_readlinkat, AT_FDCWD, sys::as_arg("/proc/self/exe"),
                                sys::as_arg(header->program), sizeof(header->program) - 1);
  header->program[length > 0 ? length : 0] = '\0';
  fill_command(header);
}

// Last: a reader that comes earlier sees no flight file yet.
void publish(FlightHeader* header) {
  uint64_t magic;
  static_assert(sizeof magic == sizeof kMagic && offsetof(FlightHeader, magic) == 0);
  memcpy(&magic, kMagic, sizeof magic);
  std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(header))
      .store(magic, std::memory_order_release);
}

bool write_all(int fd, const char* from, uint64_t size, uint64_t offset) {
  while (size > 0) {
    const long done = sys::call(SYS_pwrite64, fd, sys::as_arg(from), static_cast<long>(size),
                                static_cast<long>(offset));
    if (done <= 0) return false;
    from += done;
    size -= static_cast<uint64_t>(done);
    offset += static_cast<uint64_t>(done);
  }
  return true;
}

// What is in a record in memory; of the rings only what was ever written, so that no page comes
// into being.
bool copy_content(const FlightFile* memory, int fd) {
  const View view = view_of(const_cast<FlightFile*>(memory));
  const auto* bytes = reinterpret_cast<const char*>(memory);
  const auto copy = [&](const void* from, uint64_t size) {
    const auto* start = static_cast<const char*>(from);
    return write_all(fd, start, size, static_cast<uint64_t>(start - bytes));
  };
  if (!copy(memory, sizeof(FlightHeader))) return false;
  for (const RefusalRecord& refusal : memory->refusals) {
    if (refusal.at_monotonic_ns == 0) break;
    if (!copy(&refusal, sizeof refusal)) return false;
  }
  for (const Ring& ring : kRings) {
    uint32_t count = 0;
    while (count < ring.count && view.timeline[ring.first + count].sample.at_monotonic_ns != 0) {
      ++count;
    }
    if (!copy(view.timeline + ring.first, count * sizeof(SampleRecord))) return false;
  }
  for (uint32_t i = static_cast<uint32_t>(Section::kStrings); i < kSectionCount; ++i) {
    const SectionRecord& section = memory->header.sections[i];
    const uint64_t used = section.used.load(std::memory_order_acquire);
    const uint64_t count = used < view.capacities[i] ? used : view.capacities[i];
    if (!copy(bytes + section.offset_bytes, count * section.record_bytes)) return false;
  }
  return true;
}

// A place with a hole below it, and a page without access below that, so that the hole is not the
// end of the free addresses from which the next mapping is taken: a program that protects or
// advises beyond the end of a mapping of its own gets its ENOMEM at the hole and does not reach the
// record. Null where there is none.
void* find_place(uint64_t bytes) {
  constexpr long kHole = 256 * 1024;
  constexpr long kPage = 64 * 1024;  // or a multiple: the largest that kernels have
  const auto size = static_cast<long>(bytes) + kHole;
  const long found = sys::call(SYS_mmap, 0, size, PROT_NONE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (is_error(found)) return nullptr;
  sys::call(SYS_munmap, found + kPage, kHole - kPage);
  return reinterpret_cast<void*>(found + kHole);
}

FlightFile* map(uint64_t bytes, int flags, int fd, void* over, int* error) {
  void* const place = over == nullptr ? find_place(bytes) : nullptr;
  if (place != nullptr) over = place;
  const long mapped = sys::call(SYS_mmap, sys::as_arg(over), static_cast<long>(bytes),
                                PROT_READ | PROT_WRITE,
                                flags | (over != nullptr ? MAP_FIXED : 0), fd, 0);
  *error = is_error(mapped) ? static_cast<int>(mapped) : 0;
  if (*error != 0 && place != nullptr) {
    sys::call(SYS_munmap, sys::as_arg(place), static_cast<long>(bytes));
  }
  // Its sections are far apart: reading ahead would fill 128 KiB around the first use of each.
  if (*error == 0) sys::call(SYS_madvise, mapped, static_cast<long>(bytes), MADV_RANDOM);
  return *error == 0 ? reinterpret_cast<FlightFile*>(mapped) : nullptr;
}

// Makes a file in the folder and lets `make(fd)` fill it, which answers 0 or -errno; where it fails
// nothing is left.
template <typename Make>
int with_new_file(const char* directory, char (&path)[kMaxSessionPath], Make make) {
  size_t stem_length = 0;
  const int folder = open_sessions(directory, path, &stem_length);
  int error = folder;
  if (folder >= 0) {
    const int fd = create_session_file(folder, path, stem_length);
    error = fd;
    if (fd >= 0) {
      error = make(fd);
      sys::close(fd);
      if (error != 0) sys::call(SYS_unlinkat, folder, sys::as_arg(path + stem_length), 0);
    }
    sys::close(folder);
  }
  if (error < 0) path[0] = '\0';
  return error;
}

}  // namespace

uint64_t affordable_bytes(uint64_t wanted, const Medium& medium, int64_t limit_bytes) {
  uint64_t most = wanted;
  const auto at_most = [&](uint64_t bytes) { most = bytes < most ? bytes : most; };
  const uint64_t free = medium.free_bytes > 0 ? static_cast<uint64_t>(medium.free_bytes) : 0;
  at_most(free / kFreeTimes);
  if (medium.is_memory) {
    const int64_t share = limit_bytes / kMemoryShare;
    if (most > kSmallestFlightBytes) {
      at_most(share > static_cast<int64_t>(kSmallestFlightBytes) ? static_cast<uint64_t>(share)
                                                                 : kSmallestFlightBytes);
    }
  }
  return flight_size(most);
}

FlightFile* create(const char* directory, const Start& start, char (&path)[kMaxSessionPath],
                   int* error) {
  FlightFile* file = nullptr;
  *error = with_new_file(directory, path, [&](int fd) {
    uint64_t bytes = flight_size(start.file_bytes);
    int failed = reserve(fd, start.limit_bytes, &bytes);
    if (failed == 0) file = map(bytes, MAP_SHARED, fd, nullptr, &failed);
    if (failed == 0) write_layout(&file->header, bytes);
    return failed;
  });
  if (file == nullptr) return nullptr;
  fill_header(&file->header, start);
  publish(&file->header);
  return file;
}

FlightFile* create_in_memory(const Start& start, FlightFile* over) {
  const uint64_t bytes = over != nullptr ? over->header.file_bytes : flight_size(start.file_bytes);
  if (bytes == 0) return nullptr;
  int error = 0;
  // Shared, as a file's would be: private pages would count against RLIMIT_DATA.
  FlightFile* memory =
      map(bytes, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, over, &error);
  if (memory == nullptr) return nullptr;
  write_layout(&memory->header, bytes);
  memory->header.pid = static_cast<int32_t>(sys::call(SYS_getpid));
  memory->header.limit_bytes = start.limit_bytes;
  memory->header.reserve_bytes = start.reserve_bytes;
  memory->header.tree = start.tree;
  return memory;
}

bool move_to_file(FlightFile* memory, const char* directory, const Start& start,
                  char (&path)[kMaxSessionPath], int* error) {
  uint64_t bytes = memory->header.file_bytes;
  *error = with_new_file(directory, path, [&](int fd) {
    if (affordable_bytes(bytes, medium_of(fd), start.limit_bytes) < bytes) return -ENOSPC;
    int failed = reserve_blocks(fd, &bytes, true);
    if (failed == 0 && !copy_content(memory, fd)) failed = -EIO;
    if (failed == 0) map(bytes, MAP_SHARED, fd, memory, &failed);
    return failed;
  });
  if (*error != 0) return false;
  fill_header(&memory->header, start);
  publish(&memory->header);
  return true;
}

int prepare_folder(const char* directory) {
  char path[kMaxSessionPath];
  size_t length = 0;
  const int folder = open_sessions(directory, path, &length);
  if (folder < 0) return folder;
  const long writable = sys::call(SYS_faccessat, folder, sys::as_arg("."), W_OK | X_OK);
  sys::close(folder);
  return static_cast<int>(writable);
}

void remove_if_uneventful(const FlightFile* file, const char* path) {
  if (file == nullptr || path[0] == '\0') return;
  const FlightHeader& header = file->header;
  if (header.pid != static_cast<int32_t>(sys::call(SYS_getpid))) return;
  if (is_eventful(header)) return;
  sys::call(SYS_unlinkat, AT_FDCWD, sys::as_arg(path), 0);
}

void detach(FlightFile* file) {
  if (file == nullptr) return;
  sys::call(SYS_munmap, sys::as_arg(file), static_cast<long>(file->header.file_bytes));
}

}  // namespace oomguard::record
