// What each thread carries for sampling. The credit that a hook spends (thread_state.h) ends where
// the gate's grant ends or where the next sample is due, whichever comes first; what lies behind it
// stands here. One of the two is always 0.
// Thread-safety: of its own thread. Callable from a hook: yes.
#pragma once

#include <cstdint>

namespace oomguard::trace {

struct Countdown {
  uint64_t granted_beyond;  // bytes that were granted
  uint64_t sample_beyond;   // bytes to the next sample
  uint64_t mean_bytes;      // between samples of this thread; 0: it has not begun
  uint64_t drawn_mean;      // what it was when the way to the next sample was drawn: for its weight
  uint64_t random;
  int64_t captured_ns;      // when the last stack was read, or since when there might have been one
};

}  // namespace oomguard::trace
