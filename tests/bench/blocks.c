/* Blocks of 64 KiB to 4 MiB in a live window of 16, a byte written to each page. Prints the processor
 * seconds of the loop.   blocks COUNT */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "processor_seconds.h"

enum { kWindow = 16, kLeast = 64 << 10, kMost = 4 << 20, kPage = 4096 };

int main(int argc, char** argv) {
  const long count = argc > 1 ? atol(argv[1]) : 3000;
  char* window[kWindow] = {0};
  uint32_t dice = 12345;
  const double before = processor_seconds();
  for (long i = 0; i < count; ++i) {
    dice ^= dice << 13;
    dice ^= dice >> 17;
    dice ^= dice << 5;
    const size_t size = kLeast + (dice >> 4) % (kMost - kLeast);
    const size_t slot = dice % kWindow;
    free(window[slot]);
    char* block = malloc(size);
    if (!block) return 1;
    for (size_t at = 0; at < size; at += kPage) block[at] = 1;
    window[slot] = block;
  }
  printf("%.6f\n", processor_seconds() - before);
  return 0;
}
