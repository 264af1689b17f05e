// Runs one piece of code again and again, each time in a fresh process and with another one of its
// system calls failing: the first, the second, ... until it makes fewer.
#pragma once

#include <dirent.h>
#include <errno.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <filesystem>
#include <functional>
#include <fstream>
#include <string>

#include "tests/faults/injector.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::faults {

// Scenarios with a watchdog make calls for as long as they last. The later ones are looks like those
// before: of these some are taken.
inline constexpr int64_t kMostCalls = 300;
inline constexpr int64_t kEachUpTo = 30;

inline int open_descriptors() {
  int count = -3;  // ".", ".." and the directory itself
  DIR* folder = opendir("/proc/self/fd");
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

// Mappings of files below `folder`.
inline int mappings_below(const std::string& folder) {
  std::ifstream maps("/proc/self/maps");
  int count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find(folder) != std::string::npos;
  return count;
}

// `scenario(plan)` arms the plan around the calls that may fail, and checks what must hold.
inline void each_failure(const std::function<void(const Plan&)>& scenario,
                         std::initializer_list<int> errors = {EIO, ENOMEM, EINTR}) {
  void* shared = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto& made = *static_cast<std::atomic<int64_t>*>(shared);
  int64_t runs = 0;
  for (const int error : errors) {
    for (const bool and_after : {false, true}) {
      for (int64_t first = 1; first <= kMostCalls;
           first += first < kEachUpTo ? 1 : 9) {
        const Plan plan{first, and_after, error};
        made.store(0);
        const int status = test::in_child([&] {
          scenario(plan);
          disarm();
          made.store(most_calls());
          if (::testing::Test::HasFailure()) {
            fprintf(stderr, "the call was number %ld\n", failed_call());
          }
        });
        ASSERT_EQ(status, 0) << "call " << first << (and_after ? " and all later ones" : "")
                             << ", errno " << error;
        ++runs;
        if (made.load() < first) break;
      }
    }
  }
  EXPECT_GT(runs, 12) << "nothing was made to fail";
  munmap(shared, 4096);
}

}  // namespace oomguard::faults
