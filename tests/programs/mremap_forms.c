// mremap in its forms: in place, moved, fixed, shrinking, DONTUNMAP, of shared memory (old size 0
// makes a second mapping), and its errors with their errno.
#include <sys/mman.h>

#include "program.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

enum { kPage = 4096, kSize = 64 * kPage };

static char* make(int flags) {
  char* area = mmap(NULL, kSize, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
  EXPECT(area != MAP_FAILED);
  fill(area, kSize, 2);
  return area;
}

static void moving(void) {
  char* area = make(MAP_PRIVATE);
  char* moved = mremap(area, kSize, 100 * (size_t)kSize, MREMAP_MAYMOVE);
  EXPECT(moved != MAP_FAILED && holds(moved, kSize, 2) && moved[99 * kSize] == 0);
  char* shrunk = mremap(moved, 100 * (size_t)kSize, kSize, 0);
  EXPECT(shrunk == moved && holds(shrunk, kSize, 2));
  char* place = mmap(NULL, 2 * kSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(place != MAP_FAILED);
  char* fixed = mremap(shrunk, kSize, 2 * kSize, MREMAP_MAYMOVE | MREMAP_FIXED, place);
  EXPECT(fixed == place && holds(fixed, kSize, 2));
  char* twin = mremap(fixed, 2 * kSize, 2 * kSize, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
  EXPECT(twin != MAP_FAILED && holds(twin, kSize, 2) && fixed[0] == 0);
  say("moved, shrunk, fixed, not unmapped");
  EXPECT(munmap(twin, 2 * kSize) == 0 && munmap(fixed, 2 * kSize) == 0);
}

static void sharing(void) {
  char* area = make(MAP_SHARED);
  char* second = mremap(area, 0, kSize, MREMAP_MAYMOVE);
  EXPECT(second != MAP_FAILED && second != area);
  second[5] = 'z';
  EXPECT(area[5] == 'z');
  say("second mapping of shared memory");
  EXPECT(munmap(area, kSize) == 0 && munmap(second, kSize) == 0);
}

static void wrong(const char* what, void* address, size_t from, size_t to, int flags) {
  errno = 0;
  void* result = mremap(address, from, to, flags);
  say("%s: failed %d errno %d", what, result == MAP_FAILED, errno);
}

int main(void) {
  for (int i = 0; i < 20; ++i) moving();
  sharing();
  char* area = make(MAP_PRIVATE);
  wrong("unaligned", area + 1, kSize, 2 * kSize, MREMAP_MAYMOVE);
  wrong("to nothing", area, kSize, 0, MREMAP_MAYMOVE);
  wrong("bad flags", area, kSize, 2 * kSize, 64);
  wrong("too large", area, kSize, SIZE_MAX / 4, MREMAP_MAYMOVE);
  wrong("fixed without maymove", area, kSize, kSize, MREMAP_FIXED);
  EXPECT(holds(area, kSize, 2));
  EXPECT(munmap(area, kSize) == 0);
  return 0;
}
