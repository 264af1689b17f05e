// Which allocations are recorded with their call stack: sampling by bytes (poisson.h), with large
// blocks exactly.
//
// A slow path of the gate asks once for each request. The mean distance is `--sample` where a
// thread allocates as programs do; where stacks would be read so often that it is noticed (blocks
// of many MiB in a tight loop), the thread's own mean grows, and with it what counts as large,
// until they take about an eightieth of its time. Weights use the mean that chose, so the estimates
// stay unbiased.
// Callable from a hook: yes. Thread-safety: all of it; a Countdown is its own thread's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shim/trace/countdown.h"
#include "shim/trace/samples.h"

namespace oomguard::trace {

// 0: nothing is recorded. Once, when the session has started and before the gate works. Not from a
// hook.
void start(int64_t mean_bytes) noexcept;
// The mean alone; 0 turns it off.
void configure(int64_t mean_bytes) noexcept;
bool enabled() noexcept;

// Bytes that an allocation of `size` stands for, 0 where it is not recorded. `left` is the thread's
// distance to its next sample and is set anew.
int64_t choose(Countdown* countdown, uint64_t size, uint64_t* left) noexcept;

// Reads the call stack of this thread and counts the bytes for it. Returns its site (sites.h), 0
// where there is no place for another.
uint32_t capture(Countdown* countdown, uint64_t size, int64_t weight) noexcept;

// Remembers a block of at most 1 MiB that was captured.
void remember(void* address, uint64_t size, uint32_t site, int64_t weight) noexcept;
// What `free` and its kin call for an address that the block filter let through, before it is given
// back. `before`: what was known of it, where it was (then true), for remember_again if it lives on
// after all.
bool forget(const void* address, Sample* before = nullptr) noexcept;
void remember_again(void* address, const Sample& before) noexcept;

// The distance to the next sample where nothing is sampled.
inline constexpr uint64_t kNever = UINT64_MAX / 2;

void on_fork_child() noexcept;

}  // namespace oomguard::trace
