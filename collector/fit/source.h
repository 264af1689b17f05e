// One regular file, read in pieces at given places.
// Thread-safety: as an int. Callable from a hook: no.
#pragma once

#include <cstdint>
#include <string>

#include "collector/record/result.h"

namespace oomguard::fit {

class Source {
 public:
  // An error where it is no readable regular file; never waits (a pipe, a device).
  static Result<Source> open(const std::string& path);
  // `fd` becomes the Source's.
  static Result<Source> of_descriptor(int fd, std::string name);

  Source(Source&& other) noexcept;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  Source& operator=(Source&&) = delete;
  ~Source();

  int64_t size() const { return size_; }
  const std::string& name() const { return name_; }
  // All of it or false. `offset` may be any number.
  bool read(int64_t offset, void* to, size_t bytes) const;
  // false where the file is larger than `most`, or cannot be read.
  bool read_all(size_t most, std::string* text) const;
  // "NAME: WHAT".
  Error wrong(const std::string& what) const;

 private:
  Source(int fd, int64_t size, std::string name);
  int fd_;
  int64_t size_;
  std::string name_;
};

}  // namespace oomguard::fit
