// The plan of one random program: what each of its threads will do, step by step. It follows from
// the seed and the number of bytes alone, so that a failure can be printed and run again; what a
// refusal leaves out, a run skips.
#pragma once

#include <stdint.h>

enum { kSlots = 24, kMaxThreads = 8, kMaxOps = 192, kMaxForks = 2, kMailSlots = 16 };

// Where a block comes from.
enum source {
  kMalloc, kCalloc, kReallocNull, kReallocArray, kPosixMemalign, kAlignedAlloc, kMemalign, kValloc,
  kPvalloc, kList, kMapPrivate, kMapShared, kMapNoReserve, kReservation, kBreak, kSources
};

enum action {
  kAllocate,  // slot, source, size, dense
  kTouch,     // slot, pattern, permille: fills what was not filled
  kRead,      // slot, permille: reads what was not filled
  kRewrite,   // slot: fills what was filled with another pattern
  kCheck,     // slot
  kFree,      // slot
  kResize,    // slot, size: realloc, mremap
  kUnmapTail, // slot, size: what is left
  kRemap,     // slot: a fixed mapping over its middle
  kDrop,      // slot: MADV_DONTNEED over its middle
  kHuge,      // slot: MADV_HUGEPAGE
  kSleep,     // size: microseconds
  kGive,      // slot: to whoever takes it
  kTake,      // checks and frees what another thread gave
  kFork,      // size: number of the child's plan; permille 1: killed, not awaited to its end
  kReap,
  kActions
};

enum pattern { kWhole, kHead, kEvery, kRandom };

struct op {
  uint8_t action, source, slot, pattern;
  uint16_t permille;
  uint16_t dense;
  uint32_t seed;
  uint64_t size;
};

struct child_plan {
  uint32_t count;
  struct op ops[kMaxOps];
};

struct thread_plan {
  uint32_t count, forks;
  struct op ops[kMaxOps];
  struct child_plan children[kMaxForks];
};

struct plan {
  uint32_t threads, forks;
  uint64_t granted_bytes;  // never more than this is granted at once, heap overhead aside
  uint64_t touched_bytes;  // never more than this is touched at once
  struct thread_plan of[kMaxThreads];
};

// xorshift64*: small, and the same everywhere.
struct generator {
  uint64_t state;
};
uint64_t next_number(struct generator* g);
static inline uint64_t below(struct generator* g, uint64_t bound) { return next_number(g) % bound; }

void make_plan(struct plan* plan, uint64_t seed, uint64_t bytes);
void print_plan(const struct plan* plan);
int is_mapping(int source);
