// Growth by realloc in all its shapes, with contents checked: one block growing by a factor, many
// that shrink and grow in turn across the border to blocks with a mapping of their own, aligned
// blocks that are grown, growth in a thread of what another made; and calloc's zeroes.
#include <malloc.h>
#include <pthread.h>

#include "program.h"

static void grow_one(void) {
  size_t size = 10;
  char* block = malloc(size);
  fill(block, size, 1);
  while (size < (96u << 20)) {
    size_t larger = size + size / 2;
    block = realloc(block, larger);
    EXPECT(block != NULL && holds(block, size < 100000 ? size : 100000, 1));
    fill(block, larger, 1);
    size = larger;
  }
  EXPECT(holds(block, size, 1));
  free(block);
}

static void churn_many(uint32_t state) {
  enum { kBlocks = 40 };
  char* blocks[kBlocks] = {0};
  size_t sizes[kBlocks] = {0};
  for (int i = 0; i < 1500; ++i) {
    uint32_t which = next_random(&state) % kBlocks;
    size_t size = next_random(&state) % (i % 10 == 0 ? 1500000 : 20000) + 1;
    size_t kept = size < sizes[which] ? size : sizes[which];
    char* block = realloc(blocks[which], size);
    EXPECT(block != NULL && holds(block, kept, which));
    fill(block, size, which);
    blocks[which] = block;
    sizes[which] = size;
  }
  for (int i = 0; i < kBlocks; ++i) free(blocks[i]);
}

static void grow_aligned(void) {
  for (size_t alignment = 16; alignment <= (1u << 20); alignment *= 4) {
    void* block = NULL;
    EXPECT(posix_memalign(&block, alignment, 200000) == 0);
    fill(block, 200000, 3);
    block = realloc(block, 900000);
    EXPECT(block != NULL && holds(block, 200000, 3));
    block = realloc(block, 100);
    EXPECT(block != NULL && holds(block, 100, 3) && malloc_usable_size(block) >= 100);
    free(block);
  }
}

// What calloc returns is zero, also where others' blocks were.
static void clear_used(uint32_t state) {
  for (int i = 0; i < 3000; ++i) {
    const size_t size = next_random(&state) % (i % 10 == 0 ? 300000 : 20000) + 1;
    char* used = malloc(size);
    fill(used, size, 7);
    free(used);
    char* clear = calloc(size, 1);
    EXPECT(clear != NULL && clear[0] == 0 && memcmp(clear, clear + 1, size - 1) == 0);
    free(clear);
  }
}

static void* in_thread(void* block) {
  char* grown = realloc(block, 7 << 20);
  EXPECT(grown != NULL && holds(grown, 4 << 20, 9));
  churn_many(99);
  return grown;
}

int main(void) {
  grow_one();
  churn_many(1);
  clear_used(5);
  grow_aligned();
  char* block = malloc(4 << 20);
  fill(block, 4 << 20, 9);
  pthread_t thread;
  void* grown = NULL;
  EXPECT(pthread_create(&thread, NULL, in_thread, block) == 0);
  churn_many(2);
  EXPECT(pthread_join(thread, &grown) == 0);
  free(grown);
  say("contents kept");
  return 0;
}
