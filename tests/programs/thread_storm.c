// 10,000 short threads, each of which allocates a little and leaves a block for the next to free:
// what a guard keeps per thread must come back when the thread ends.
#include <pthread.h>

#include "program.h"

static char* g_left;

static void* in_thread(void* argument) {
  uintptr_t index = (uintptr_t)argument;
  char* block = malloc(100 + index % 3000);
  if (block == NULL) _exit(97);
  block[0] = (char)index;
  char* before = __atomic_exchange_n(&g_left, block, __ATOMIC_ACQ_REL);
  free(before);
  if (index % 100 == 0) {
    char* large = malloc(3 << 20);
    if (large == NULL) _exit(97);
    large[0] = 1;
    free(large);
  }
  return NULL;
}

int main(void) {
  enum { kBatch = 20, kBatches = 500 };
  for (uintptr_t i = 0; i < kBatches; ++i) {
    pthread_t threads[kBatch];
    for (uintptr_t j = 0; j < kBatch; ++j) {
      EXPECT(pthread_create(&threads[j], NULL, in_thread, (void*)(i * kBatch + j)) == 0);
    }
    for (int j = 0; j < kBatch; ++j) EXPECT(pthread_join(threads[j], NULL) == 0);
  }
  free(g_left);
  say("%d threads", kBatch * kBatches);
  return 0;
}
