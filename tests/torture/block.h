// A block of a random program: memory from one of the sources of plan.h, filled with a pattern that
// is checked wherever it was filled. A broken pattern, or zeros that were promised and are not
// there, end the process (fail()).
//
// Thread-safety: a block belongs to one thread at a time.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "plan.h"

struct block {
  unsigned char* address;  // NULL: none
  size_t size;
  uint64_t* filled;        // a bit per chunk of 4096 bytes from the block's start
  size_t filled_bytes;     // of the map above
  uint64_t small_map;      // the map, where 64 bits are enough
  uint32_t seed;
  uint8_t source, dense, zeroed;
  uint8_t remapped;        // a fixed mapping lies over its middle: it may be several mappings
};

enum {
  kCorrupted = 90,  // a block does not hold what was written
  kWrongError = 91, // a call failed in a way that no program expects
};

// Prints one line and ends the process.
__attribute__((format(printf, 2, 3), noreturn)) void fail(int status, const char* format, ...);

// False where memory was refused.
int block_allocate(struct block* b, const struct op* op);
void block_touch(struct block* b, const struct op* op);
void block_read(const struct block* b, const struct op* op);
void block_rewrite(struct block* b, uint32_t seed);
void block_check(const struct block* b);
void block_free(struct block* b);  // checks first
// What the kernel cannot do with several mappings stays as it is, and counts as granted.
int block_resize(struct block* b, size_t size);
int block_unmap_tail(struct block* b, size_t size);
int block_remap(struct block* b);
void block_drop(struct block* b);
void block_huge(const struct block* b);
