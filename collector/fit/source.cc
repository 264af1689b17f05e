#include "collector/fit/source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "collector/record/read_at.h"

namespace oomguard::fit {

Source::Source(int fd, int64_t size, std::string name)
    : fd_(fd), size_(size), name_(std::move(name)) {}

Source::Source(Source&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), size_(other.size_), name_(std::move(other.name_)) {}

Source::~Source() {
  if (fd_ >= 0) ::close(fd_);
}

Result<Source> Source::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return Error{path + ": " + strerror(errno)};
  return of_descriptor(fd, path);
}

Result<Source> Source::of_descriptor(int fd, std::string name) {
  struct stat info {};
  const int failed = ::fstat(fd, &info);
  Source source(fd, info.st_size, std::move(name));
  if (failed != 0 || !S_ISREG(info.st_mode)) return source.wrong("no regular file");
  return source;
}

bool Source::read(int64_t offset, void* to, size_t bytes) const {
  if (offset < 0 || bytes > static_cast<uint64_t>(size_) ||
      offset > size_ - static_cast<int64_t>(bytes)) {
    return false;
  }
  return record::read_at(fd_, to, bytes, offset);
}

bool Source::read_all(size_t most, std::string* text) const {
  if (static_cast<uint64_t>(size_) > most) return false;
  text->resize(static_cast<size_t>(size_));
  return read(0, text->data(), text->size());
}

Error Source::wrong(const std::string& what) const { return Error{name_ + ": " + what}; }

}  // namespace oomguard::fit
