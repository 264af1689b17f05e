#include "collector/record/writer.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "collector/probe/syscall.h"
#include "collector/record/line_buffer.h"
#include "collector/record/mask.h"

namespace oomguard::record {
namespace {

constexpr size_t kPageBytes = 4096;

int make_folder(const char* path) {
  const long result = sys::call(SYS_mkdirat, AT_FDCWD, sys::as_arg(path), 0700);
  return result == -EEXIST ? 0 : static_cast<int>(result);
}

// Makes every missing folder of `path`, which is changed for a moment at each slash.
int make_folders(char* path) {
  for (char* c = path + 1; *c != '\0'; ++c) {
    if (*c != '/') continue;
    *c = '\0';
    // A parent that exists but may not be written to answers EACCES or EROFS; the last one counts.
    make_folder(path);
    *c = '/';
  }
  return make_folder(path);
}

// A descriptor of the folder, or -errno where it is not one that this user may trust.
int open_own_folder(const char* path, bool must_be_private) {
  const int fd = sys::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (fd < 0) return fd;
  struct stat info;
  int error = sys::fstat(fd, &info);
  const auto user = static_cast<uid_t>(sys::call(SYS_geteuid));
  if (error == 0 && info.st_uid != user) error = -EPERM;
  if (error == 0 && must_be_private && (info.st_mode & 022) != 0) error = -EPERM;
  if (error == 0) return fd;
  sys::close(fd);
  return error;
}

// Blocks for the whole file. File systems without fallocate get a byte written in each page, which
// reserves as well.
int reserve_blocks(int fd) {
  constexpr auto kBytes = static_cast<long>(sizeof(FlightFile));
  if (!sys::may_write_file_of(kBytes)) return -EFBIG;
  long result = sys::call(SYS_ftruncate, fd, kBytes);
  if (result == 0) result = sys::call(SYS_fallocate, fd, 0, 0, kBytes);
  if (result != -EOPNOTSUPP && result != -ENOSYS) return static_cast<int>(result);
  const char zero = 0;
  for (long at = 0; at < kBytes; at += kPageBytes) {
    result = sys::call(SYS_pwrite64, fd, sys::as_arg(&zero), 1, at);
    if (result < 0) return static_cast<int>(result);
  }
  return 0;
}

int64_t realtime_ns() {
  timespec now{};
  sys::call(SYS_clock_gettime, CLOCK_REALTIME, sys::as_arg(&now));
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
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
  header->start_realtime_ns = realtime_ns();
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
  // Last: a reader that comes earlier sees no flight file yet.
  uint64_t magic;
  static_assert(sizeof magic == sizeof kMagic && offsetof(FlightHeader, magic) == 0);
  memcpy(&magic, kMagic, sizeof magic);
  std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(header)).store(magic, std::memory_order_release);
}

// Makes a new file in the folder and writes its name behind `stem_length` characters of `path`.
int create_file(int folder, char (&path)[kMaxSessionPath], size_t stem_length) {
  const int64_t seconds = realtime_ns() / 1'000'000'000;
  const long pid = sys::call(SYS_getpid);
  // A process that executes another program keeps its number; within one second so do the names.
  for (int64_t attempt = 0; attempt < 10; ++attempt) {
    char* name = path + stem_length;
    LineBuffer text(name, kMaxSessionPath - stem_length);
    text.number(seconds).text("-").number(pid);
    if (attempt > 0) text.text("-").number(attempt);
    text.text(".flight").end_line();
    const size_t length = text.finish();
    if (length == 0) return -ENAMETOOLONG;
    name[length - 1] = '\0';
    const auto fd =
        static_cast<int>(sys::call(SYS_openat, folder, sys::as_arg(name),
                                   O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (fd != -EEXIST) return fd;
  }
  return -EEXIST;
}

// `<directory>/sessions` in `path`, made and checked; a descriptor of it, or -errno.
int open_sessions(const char* directory, char (&path)[kMaxSessionPath], size_t* length) {
  static constexpr char kSessions[] = "/sessions";
  size_t size = strnlen(directory, kMaxSessionPath);
  while (size > 1 && directory[size - 1] == '/') --size;
  if (directory[0] != '/') return -EINVAL;
  if (size + sizeof(kSessions) + 1 >= kMaxSessionPath) return -ENAMETOOLONG;
  memcpy(path, directory, size);
  path[size] = '\0';
  int error = make_folders(path);
  if (error != 0) return error;
  const int parent = open_own_folder(path, false);
  if (parent < 0) return parent;
  sys::close(parent);
  memcpy(path + size, kSessions, sizeof(kSessions));
  error = make_folder(path);
  if (error != 0) return error;
  const int fd = open_own_folder(path, true);
  *length = size + sizeof(kSessions) - 1;
  path[(*length)++] = '/';
  path[*length] = '\0';
  return fd;
}

}  // namespace

FlightFile* create(const char* directory, const Start& start, char (&path)[kMaxSessionPath],
                   int* error) {
  size_t stem_length = 0;
  const int folder = open_sessions(directory, path, &stem_length);
  const int fd = folder < 0 ? folder : create_file(folder, path, stem_length);
  long mapped = fd;
  if (fd >= 0) {
    mapped = reserve_blocks(fd);
    if (mapped == 0) {
      mapped =
          sys::call(SYS_mmap, 0, sizeof(FlightFile), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    sys::close(fd);
    if (mapped < 0 && mapped > -4096) {
      sys::call(SYS_unlinkat, folder, sys::as_arg(path + stem_length), 0);
    }
  }
  if (folder >= 0) sys::close(folder);
  if (mapped < 0 && mapped > -4096) {
    *error = static_cast<int>(mapped);
    path[0] = '\0';
    return nullptr;
  }
  *error = 0;
  auto* file = reinterpret_cast<FlightFile*>(mapped);
  fill_header(&file->header, start);
  return file;
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
  if (file != nullptr) sys::call(SYS_munmap, sys::as_arg(file), sizeof(FlightFile));
}

}  // namespace oomguard::record
