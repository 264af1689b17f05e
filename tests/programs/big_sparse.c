// 38 GB that nobody touches: a skeleton of 76 blocks of half a GiB (as a model loader makes it), a
// reservation of 38 GiB without reserve, and one without access. Nothing may be refused for it.
#include <sys/mman.h>

#include "program.h"

int main(void) {
  enum { kBlocks = 76 };
  const size_t half = (size_t)512 << 20;
  char* blocks[kBlocks];
  int granted = 0;
  for (int i = 0; i < kBlocks; ++i) {
    blocks[i] = malloc(half);
    granted += blocks[i] != NULL;
    if (blocks[i] != NULL) blocks[i][half - 1] = 1;  // one page
  }
  say("%d of %d blocks", granted, kBlocks);
  for (int i = 0; i < kBlocks; ++i) free(blocks[i]);
  const int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
  const size_t all = half * kBlocks;
  char* area = mmap(NULL, all, PROT_READ | PROT_WRITE, anonymous | MAP_NORESERVE, -1, 0);
  EXPECT(area != MAP_FAILED);
  area[all / 2] = 1;
  say("without reserve: %d", munmap(area, all));
  area = mmap(NULL, all, PROT_NONE, anonymous, -1, 0);
  EXPECT(area != MAP_FAILED);
  say("without access: %d", munmap(area, all));
  char* small = calloc(1, 64 << 20);
  EXPECT(small != NULL);
  free(small);
  return 0;
}
