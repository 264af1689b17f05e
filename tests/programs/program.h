// What the hostile programs share. Each runs bare and guarded, and both must print the same: so no
// addresses, no numbers of processes, no times; and `say` writes at once, because many of them
// fork, crash through exec or allocate in places where stdio is not safe.
#pragma once

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((format(printf, 1, 2))) static inline void say(const char* format, ...) {
  char line[1024];
  va_list list;
  va_start(list, format);
  int length = vsnprintf(line, sizeof(line) - 1, format, list);
  va_end(list);
  if (length > (int)sizeof(line) - 2) length = (int)sizeof(line) - 2;
  line[length] = '\n';
  if (write(1, line, (size_t)length + 1) < 0) _exit(99);
}

// A broken expectation ends the program with a status of its own, so that it fails bare, too.
#define EXPECT(condition)                                         \
  do {                                                            \
    if (!(condition)) {                                           \
      say("%s:%d: not true: %s", __FILE__, __LINE__, #condition); \
      _exit(98);                                                  \
    }                                                             \
  } while (0)

// Fills a block with bytes that depend on its seed, and checks them.
static inline void fill(void* block, size_t size, unsigned seed) {
  unsigned char* bytes = (unsigned char*)block;
  for (size_t i = 0; i < size; ++i) bytes[i] = (unsigned char)(seed + i * 31);
}
static inline int holds(const void* block, size_t size, unsigned seed) {
  const unsigned char* bytes = (const unsigned char*)block;
  for (size_t i = 0; i < size; ++i) {
    if (bytes[i] != (unsigned char)(seed + i * 31)) return 0;
  }
  return 1;
}

// A small generator of its own: rand() may lock, and must give the same sizes in every run.
static inline uint32_t next_random(uint32_t* state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 8;
}
