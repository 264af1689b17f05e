// Threads with the smallest stack the system allows, each of which allocates small and 2 MiB blocks
// and frees those of its neighbour: a hook that needs kilobytes of stack ends in SIGSEGV.
#include <limits.h>
#include <pthread.h>

#include "program.h"

enum { kThreads = 64 };
static void* g_blocks[kThreads][8];

static void* in_thread(void* argument) {
  size_t index = (size_t)(uintptr_t)argument;
  static const size_t kSizes[] = {1, 100, 5000, 70000, 200000, 2 << 20, 2 << 20, 5 << 20};
  for (int i = 0; i < 8; ++i) {
    char* block = i % 2 == 0 ? malloc(kSizes[i]) : calloc(1, kSizes[i]);
    if (block == NULL) _exit(97);
    block[kSizes[i] - 1] = 1;
    block = realloc(block, kSizes[i] + 4096);
    if (block == NULL) _exit(97);
    g_blocks[index][i] = block;
  }
  if (index > 0) {
    for (int i = 0; i < 8; ++i) free(g_blocks[index - 1][i]);
  }
  return NULL;
}

int main(void) {
  pthread_attr_t attributes;
  EXPECT(pthread_attr_init(&attributes) == 0);
  EXPECT(pthread_attr_setstacksize(&attributes, (size_t)sysconf(_SC_THREAD_STACK_MIN)) == 0);
  for (uintptr_t i = 0; i < kThreads; ++i) {
    pthread_t thread;
    EXPECT(pthread_create(&thread, &attributes, in_thread, (void*)i) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
  }
  say("%d threads", kThreads);
  return 0;
}
