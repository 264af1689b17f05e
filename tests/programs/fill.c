// Fills memory until a request is refused, one way per run; says how much it held in a line of JSON.
//
//   fill requests|small|threads|two_empty|four_empty [MIB]
//
//   requests    blocks of 16 MiB, one thread; `threads`: four
//   small       blocks of 64 KiB
//   two_empty   two blocks of MIB that are filled after both were granted
//   four_empty  four, each by a thread of its own
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kMiB = 1 << 20, kThreads = 4 };

static atomic_long filled;
static atomic_int refused;

static void fill(char* block, size_t size) {
  for (size_t at = 0; at < size; at += 64 << 10) {
    memset(block + at, 7, 64 << 10);
    filled += 64 << 10;
  }
}

static void* fill_blocks(void* size) {
  for (;;) {
    char* block = malloc((size_t)size);
    if (!block) break;
    fill(block, (size_t)size);
  }
  ++refused;
  return NULL;
}

struct Block {
  char* start;
  size_t size;
};

static void* fill_one(void* of) {
  struct Block* block = of;
  fill(block->start, block->size);
  return NULL;
}

static void in_threads(void* (*work)(void*), void* arguments[kThreads]) {
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; ++i) pthread_create(&threads[i], NULL, work, arguments[i]);
  for (int i = 0; i < kThreads; ++i) pthread_join(threads[i], NULL);
}

static void fill_later(int count, size_t size) {
  static struct Block blocks[kThreads];
  void* arguments[kThreads];
  for (int i = 0; i < count; ++i) {
    blocks[i] = (struct Block){malloc(size), size};
    arguments[i] = &blocks[i];
    if (!blocks[i].start) {
      ++refused;
      return;
    }
  }
  if (count == kThreads) {
    in_threads(fill_one, arguments);
  } else {
    for (int i = 0; i < count; ++i) fill(blocks[i].start, size);
  }
}

int main(int argc, char** argv) {
  const char* way = argc > 1 ? argv[1] : "";
  const size_t size = argc > 2 ? (size_t)atol(argv[2]) * kMiB : 0;
  void* const block_size = (void*)(size_t)(16 * kMiB);
  void* arguments[kThreads] = {block_size, block_size, block_size, block_size};
  printf("growing\n");
  fflush(stdout);
  if (!strcmp(way, "requests")) {
    fill_blocks(block_size);
  } else if (!strcmp(way, "small")) {
    fill_blocks((void*)(size_t)(64 << 10));
  } else if (!strcmp(way, "threads")) {
    in_threads(fill_blocks, arguments);
  } else if (!strcmp(way, "two_empty")) {
    fill_later(2, size);
  } else if (!strcmp(way, "four_empty")) {
    fill_later(kThreads, size);
  } else {
    return 2;
  }
  printf("{\"exception\": %s, \"held_mib\": %ld, \"alive\": true}\n",
         refused ? "\"refused\"" : "null", filled / kMiB);
  return 0;
}
