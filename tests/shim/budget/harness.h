// What the tests of the engine share: folders, children, memory groups, and a guarded state.
//
// The engine's state is a handful of globals. A test that needs them works in a forked child, so
// that each begins with a fresh engine and none leaves anything behind for the next.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "collector/options/options.h"
#include "collector/probe/process.h"
#include "shim/budget/gate.h"
#include "shim/budget/ledger.h"

namespace oomguard::test {

using budget::Bytes;
using budget::kMiB;
constexpr Bytes kGiB = 1024 * kMiB;

// A folder of its own, gone with the object (in the process that made it).
class Folder {
 public:
  Folder() {
    const char* parent = getenv("TMPDIR");
    std::string pattern = parent != nullptr ? parent : "/tmp";
    pattern += "/oomguard-test-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) abort();
    path_ = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    if (getpid() == maker_) std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
  pid_t maker_ = getpid();
};

inline void write_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

// ThreadSanitizer keeps shadow memory and puts its own functions before libc's.
#if defined(__SANITIZE_THREAD__)
#define OOMGUARD_SKIP_UNDER_TSAN() \
  GTEST_SKIP() << "ThreadSanitizer's own memory and hooks count too"
#else
#define OOMGUARD_SKIP_UNDER_TSAN() static_cast<void>(0)
#endif

// AddressSanitizer and ThreadSanitizer put functions of their own before libc's, in this program.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define OOMGUARD_SKIP_UNDER_SANITIZERS() GTEST_SKIP() << "the sanitizer's own functions come first"
#else
#define OOMGUARD_SKIP_UNDER_SANITIZERS() static_cast<void>(0)
#endif

// Starts a child that runs `body`; its EXPECTs and ASSERTs print and become its exit status.
template <typename Body>
pid_t start_child(Body body) {
  fflush(nullptr);
  const pid_t child = fork();
  if (child != 0) return child;
  alarm(50);  // a child that hangs ends before the test's own limit
  body();
  fflush(nullptr);
  _exit(::testing::Test::HasFailure() ? 1 : 0);
}

// The raw wait status of a child that is ours.
inline int wait_for(pid_t child) {
  int status = -1;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

// 0: the child's expectations held. Anything else is its wait status.
template <typename Body>
int in_child(Body body) {
  return wait_for(start_child(std::move(body)));
}

template <typename Body>
void expect_in_child(Body body) {
  const int status = in_child(std::move(body));
  EXPECT_EQ(status, 0) << "the child's wait status; what it expected stands above";
}

// A step that one process announces and another waits for.
class Signpost {
 public:
  Signpost() {
    if (pipe2(ends_, O_CLOEXEC) != 0) abort();
  }
  ~Signpost() {
    close(ends_[0]);
    close(ends_[1]);
  }
  Signpost(const Signpost&) = delete;
  Signpost& operator=(const Signpost&) = delete;

  void set() const {
    if (write(ends_[1], "x", 1) != 1) abort();
  }
  void wait() const {
    char step;
    while (read(ends_[0], &step, 1) < 0 && errno == EINTR) {
    }
  }

 private:
  int ends_[2];
};

// Anonymous memory, untouched until somebody touches it.
class Mapped {
 public:
  explicit Mapped(size_t size, int sharing = MAP_PRIVATE)
      : size_(size),
        address_(mmap(nullptr, size, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0)) {
    if (address_ == MAP_FAILED) abort();
    madvise(address_, size, MADV_NOHUGEPAGE);
  }
  ~Mapped() { munmap(address_, size_); }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  void touch(size_t from, size_t to) const {
    for (size_t at = from; at < to; at += 4096) static_cast<volatile char*>(address_)[at] = 1;
  }
  void touch() const { touch(0, size_); }
  uintptr_t address() const { return reinterpret_cast<uintptr_t>(address_); }
  int64_t size() const { return static_cast<int64_t>(size_); }

 private:
  size_t size_;
  void* address_;
};

// What a configured budget counts of this process.
inline Bytes own_anonymous() {
  probe::ProcessStatus self;
  return probe::read_status(0, &self) ? self.resident_anonymous : 0;
}

// A return address that the gate takes for the interpreter's: one inside this test program.
[[gnu::noinline]] inline const void* interpreter_caller() {
  return reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(&own_anonymous) + 1);
}

// Turns the gate on in this process; requests of `interpreter_caller` may be refused at any size.
inline void guard(const options::Values& values) {
  budget::set_interpreter_address(reinterpret_cast<uintptr_t>(interpreter_caller()));
  budget::gate.configure(values);
  budget::gate.start();
  budget::gate.set_mode(budget::Gate::Mode::kOn);
}

// As before, with `room` bytes of budget beyond what this process holds already.
inline options::Values budget_of(Bytes room, Bytes reserve = 16 * kMiB) {
  options::Values values;
  values.budget_bytes = own_anonymous() + room;
  values.reserve_bytes = reserve;
  return values;
}

}  // namespace oomguard::test
