// Makes lent pages private memory again: what holds nothing becomes absent, what holds something is
// copied back. All at once before a fork; in steps where there is room again.
//
// A page is copied and replaced while every other thread stands, as it is lent. What a call in
// progress points into, and what a thread allocated that blocks our signal, waits for a later step.
// Thread-safety: from the raw thread only.
#pragma once

#include "shim/spill/store.h"

namespace oomguard::spill {

// What one step did.
struct Returned {
  Bytes emptied = 0;       // address space that held nothing
  Bytes copied = 0;        // what was copied back
  bool stopped = false;    // else a thread did not stop in time, and nothing was done
  bool cut = false;        // there was no time for more; else what is left is left for a reason
  int64_t stopped_ns = 0;  // how long the threads stood

  bool moved() const { return emptied > 0 || copied > 0; }
};

struct Pace {
  Bytes copies;       // at most, in pieces of 2 MiB
  int64_t stop_ns;    // how long threads may take to stop
  int64_t stopped_ns;  // how long they may stand then, but for one piece
};

// Stops the other threads for it, and asks `fits` then. False: it answered so, they could not all
// be stopped, the disk could not be read, or memory could not be mapped; every page then holds what
// it held, on either side.
[[nodiscard]] bool give_back_all(Store& store, bool (*fits)() noexcept) noexcept;
// Reads what it will copy before it stops anybody: a slow disk is waited for while the threads run.
Returned give_back_some(Store& store, const Pace& pace) noexcept;

}  // namespace oomguard::spill
