// Carries a plan out, one step at a time: the C program runs a thread per worker, the Python engine
// calls torture_step from its own threads.
#pragma once

#include <stdint.h>

#define TORTURE_EXPORT __attribute__((visibility("default")))

// Makes the plan. Returns how many workers it has.
TORTURE_EXPORT int torture_open(uint64_t seed, uint64_t bytes);
// The next step of a worker, 0 after its last.
TORTURE_EXPORT int torture_step(int worker);
// Frees the worker's largest block: what a program does when memory is refused.
TORTURE_EXPORT void torture_relieve(int worker);
// Checks and frees everything and prints what happened.
TORTURE_EXPORT void torture_close(void);
