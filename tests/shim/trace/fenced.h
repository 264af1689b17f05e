// Memory between two pages that cannot be read.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

namespace oomguard::trace::test {

class Fenced {
 public:
  explicit Fenced(size_t size) : size_(size) {
    memory_ = static_cast<char*>(mmap(nullptr, size + 2 * kPage, PROT_NONE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0));
    EXPECT_EQ(mprotect(start(), size, PROT_READ | PROT_WRITE), 0);
  }
  ~Fenced() { munmap(memory_, size_ + 2 * kPage); }
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;

  char* start() const { return memory_ + kPage; }
  size_t size() const { return size_; }
  uintptr_t address() const { return reinterpret_cast<uintptr_t>(start()); }
  uintptr_t end() const { return address() + size_; }

 private:
  static constexpr size_t kPage = 4096;
  size_t size_;
  char* memory_;
};

}  // namespace oomguard::trace::test
