/* malloc/free pairs of 16 to 512 bytes in a live window of 1,000 blocks, in one or more threads.
 * Prints the processor seconds of the whole loop.   pairs THREADS PAIRS_PER_THREAD */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "processor_seconds.h"

enum { kWindow = 1000 };
static long pairs_per_thread;

static void* churn(void* seed) {
  void** window = calloc(kWindow, sizeof(void*));
  uint32_t dice = (uint32_t)(uintptr_t)seed | 1;
  if (!window) exit(1);
  for (long pair = 0; pair < pairs_per_thread; ++pair) {
    dice ^= dice << 13;
    dice ^= dice >> 17;
    dice ^= dice << 5;
    size_t slot = dice % kWindow;
    free(window[slot]);
    char* block = malloc(16 + (dice >> 10) % 497);
    if (!block) exit(1);
    *block = (char)pair;
    window[slot] = block;
  }
  for (int slot = 0; slot < kWindow; ++slot) free(window[slot]);
  free(window);
  return NULL;
}

int main(int argc, char** argv) {
  int threads = argc > 1 ? atoi(argv[1]) : 1;
  pthread_t others[64];
  pairs_per_thread = argc > 2 ? atol(argv[2]) : 10000000;
  if (threads < 1 || threads > 64) return 2;
  double before = processor_seconds();
  for (int other = 1; other < threads; ++other) {
    if (pthread_create(&others[other], NULL, churn, (void*)(uintptr_t)(other * 77)) != 0) return 1;
  }
  churn((void*)(uintptr_t)12345);
  for (int other = 1; other < threads; ++other) pthread_join(others[other], NULL);
  printf("%.6f\n", processor_seconds() - before);
  return 0;
}
