#include "tools/report/output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "tools/command/exit_status.h"

namespace oomguard::tools {
namespace {

bool write_all(int fd, const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t wrote = ::write(fd, text.data() + at, text.size() - at);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    at += static_cast<size_t>(wrote);
  }
  return true;
}

Error cannot_write(const std::string& path) {
  return Error{path + " could not be written: " + strerror(errno), kCannotWrite};
}

// The file behind symbolic links, so that a link stays one.
std::string behind_links(const std::string& path) {
  char resolved[PATH_MAX];
  return ::realpath(path.c_str(), resolved) != nullptr ? resolved : path;
}

Result<int> write_as_it_is(const std::string& path, const std::string& text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return cannot_write(path);
  const bool written = write_all(fd, text);
  const int error = errno;
  const bool closed = ::close(fd) == 0;
  if (!written) errno = error;
  if (!written || !closed) return cannot_write(path);
  return 0;
}

}  // namespace

Result<int> write_whole(const std::string& path, const std::string& text) {
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) return write_as_it_is(path, text);
  const std::string target = behind_links(path);
  std::string name = target + ".XXXXXX";
  std::vector<char> temporary(name.c_str(), name.c_str() + name.size() + 1);
  const int fd = ::mkostemp(temporary.data(), O_CLOEXEC);  // 0600
  if (fd < 0) return cannot_write(path);
  const bool written = write_all(fd, text) && ::fsync(fd) == 0;
  const int error = errno;
  ::close(fd);
  if (written && ::rename(temporary.data(), target.c_str()) == 0) return 0;
  if (!written) errno = error;
  const Error fault = cannot_write(path);
  ::unlink(temporary.data());
  return fault;
}

}  // namespace oomguard::tools
