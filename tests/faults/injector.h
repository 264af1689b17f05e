// Makes one system call of the code under test fail, as the kernel would answer it.
//
// Only for targets that are compiled with OOMGUARD_SYSTEM_CALL_SEAM: there every sys::call asks
// here first. Calls that cannot fail for an argument that is right (getpid, exit, ...) are let
// through and not counted.
// Thread-safety: arm and disarm while no other thread is at it; the rest is atomic.
#pragma once

#include <cstdint>

namespace oomguard::faults {

struct Plan {
  int64_t first = 0;      // the call that fails, counted from 1; 0: none, only count
  bool and_after = false; // every later one, too
  int error = 0;          // an errno
};

void arm(const Plan& plan);
void disarm();
// How many calls were counted between an `arm` and its `disarm`, at the most.
int64_t most_calls();
// What failed first, for messages: the number of the system call, -1 where nothing did.
long failed_call();
// The first failure makes this file; null: none is made.
void announce(const char* path);

}  // namespace oomguard::faults
