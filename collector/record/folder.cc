#include "collector/record/folder.h"

#include <errno.h>
#include <string.h>

#include "collector/probe/syscall.h"
#include "collector/record/line_buffer.h"

namespace oomguard::record {
namespace {

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

}  // namespace

int open_private_folder(const char* path, bool make) {
  const int error = make ? make_folder(path) : 0;
  return error != 0 ? error : open_own_folder(path, true);
}

int create_session_file(int folder, char (&path)[kMaxSessionPath], size_t stem_length) {
  const int64_t seconds = sys::realtime_ns() / 1'000'000'000;
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
  const int fd = open_private_folder(path, true);
  *length = size + sizeof(kSessions) - 1;
  path[(*length)++] = '/';
  path[*length] = '\0';
  return fd;
}

}  // namespace oomguard::record
