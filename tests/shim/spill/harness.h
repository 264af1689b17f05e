// What the tests of lending share: a raw thread that runs what a test asks for, as the watchdog would,
// and blocks of malloc that stand in the ledger, as a hook would have put them there.
#pragma once

#include <malloc.h>

#include <atomic>
#include <functional>
#include <vector>

#include "shim/budget/raw_thread.h"
#include "shim/interpose/real.h"
#include "shim/spill/lender.h"
#include "tests/shim/budget/harness.h"

// Sanitizers bring an allocator of their own, and their code needs the thread's own storage.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define OOMGUARD_SKIP_UNDER_SANITIZER() GTEST_SKIP() << "the sanitizer brings its own allocator"
#else
#define OOMGUARD_SKIP_UNDER_SANITIZER() static_cast<void>(0)
#endif

namespace oomguard::test {

inline const char* disk_folder() {
  const char* folder = getenv("OOMGUARD_TEST_DISK");
  return folder != nullptr ? folder : "/var/tmp";
}

// Runs jobs one after the other, in one raw thread. Where `watching`, it tends meanwhile.
class Raw {
 public:
  Raw() {
    job_ = nullptr;
    self_ = this;
    if (!thread_.start(body)) abort();
  }
  ~Raw() { thread_.stop(); }
  Raw(const Raw&) = delete;
  Raw& operator=(const Raw&) = delete;

  template <typename Work>
  void run(Work work) {
    std::function<void()> job = work;
    job_.store(&job);
    thread_.wake();
    while (job_.load() != nullptr) usleep(200);
  }
  // As the watchdog does at each tick.
  void watch(bool on) {
    watching_ = on;
    thread_.wake();
  }
  static void wake() noexcept { self_->thread_.wake(); }

 private:
  static void body() {
    while (!self_->thread_.stopping()) {
      if (const auto* job = job_.load(); job != nullptr) {
        (*job)();
        job_.store(nullptr);
      }
      if (watching_) spill::tend();
      self_->thread_.sleep(1'000'000);
    }
  }

  static inline std::atomic<const std::function<void()>*> job_{nullptr};
  static inline std::atomic<bool> watching_{false};
  static inline Raw* self_ = nullptr;
  budget::RawThread thread_;
};

// One block of malloc, known to the ledger.
class HeapBlock {
 public:
  explicit HeapBlock(size_t size, size_t alignment = 0) : size_(size) {
    if (alignment == 0) {
      data_ = static_cast<char*>(malloc(size));
    } else {
      data_ = static_cast<char*>(aligned_alloc(alignment, size));
    }
    if (data_ == nullptr) abort();
    budget::ledger.add({address(), static_cast<int64_t>(size), -1, sys::monotonic_ns(), 0,
                        static_cast<int32_t>(sys::call(SYS_gettid)), true});
  }
  ~HeapBlock() { release(); }
  HeapBlock(const HeapBlock&) = delete;
  HeapBlock& operator=(const HeapBlock&) = delete;

  // As the hook of free does.
  void release() {
    if (data_ == nullptr) return;
    budget::ledger.remove(address(), nullptr);
    if (spill::active()) spill::forget(address());
    free(data_);
    data_ = nullptr;
  }
  char* data() const { return data_; }
  size_t size() const { return size_; }
  uintptr_t address() const { return reinterpret_cast<uintptr_t>(data_); }

 private:
  char* data_;
  size_t size_;
};

// Words that tell where they stand.
inline void fill(char* data, size_t from, size_t to, uint64_t seed) {
  for (size_t at = from / 8 * 8; at + 8 <= to; at += 8) {
    const uint64_t word = (seed + at) * 0x9E3779B97F4A7C15u | 1;
    memcpy(data + at, &word, 8);
  }
}
// How many of them are wrong.
inline size_t wrong(const char* data, size_t from, size_t to, uint64_t seed) {
  size_t count = 0;
  for (size_t at = from / 8 * 8; at + 8 <= to; at += 8) {
    const uint64_t word = (seed + at) * 0x9E3779B97F4A7C15u | 1;
    count += memcmp(data + at, &word, 8) != 0;
  }
  return count;
}
inline size_t not_zero(const char* data, size_t from, size_t to) {
  size_t count = 0;
  for (size_t at = from; at < to; ++at) count += data[at] != 0;
  return count;
}

// Lending as configured for this process, with a file on a real disk.
inline void configure(Bytes limit = kGiB, Bytes cap = -1, const char* folder = disk_folder()) {
  interpose::resolve();
  options::Values values;
  values.spill_limit_bytes = cap;
  snprintf(values.spill_directory, sizeof values.spill_directory, "%s", folder);
  spill::configure(values, limit);
}

inline spill::Result lend_once(Raw& raw, Bytes copy_budget = 0) {
  spill::Result result;
  raw.run([&] { result = spill::lend(copy_budget); });
  return result;
}

// On a busy machine a thread may not get its turn in time; the watchdog tries again too.
inline spill::Result lend(Raw& raw, Bytes copy_budget = 0) {
  spill::Result result = lend_once(raw, copy_budget);
  for (int i = 0; i < 30 && result.outcome == spill::Outcome::kNotStopped; ++i) {
    result = lend_once(raw, copy_budget);
  }
  return result;
}

inline void tend(Raw& raw) {
  raw.run([] { spill::tend(); });
}

// One step of giving back; on a busy machine a thread may not get its turn in time.
inline spill::Returned give_back(Raw& raw, Bytes copies) {
  spill::Returned back;
  for (int i = 0; i < 30 && !back.stopped; ++i) {
    raw.run([&] { back = spill::give_back({copies, 200'000'000, 50'000'000}); });
  }
  return back;
}

// Mappings of this process that lie in an unlinked file.
inline size_t lent_mappings() {
  std::ifstream maps("/proc/self/maps");
  size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    count += line.find("rw-s") != std::string::npos && line.find("(deleted)") != std::string::npos;
  }
  return count;
}

}  // namespace oomguard::test

// The names that nearly every test of this folder uses.
namespace oomguard::spill {

using budget::kMiB;
using test::configure;
using test::expect_in_child;
using test::fill;
using test::HeapBlock;
using test::kGiB;
using test::lend;
using test::not_zero;
using test::Raw;
using test::tend;
using test::wrong;

}  // namespace oomguard::spill
