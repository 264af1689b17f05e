// Moves the break by hand while malloc uses it, too: up, down, to where it is, and too far.
#include "program.h"

int main(void) {
  char* start = sbrk(0);
  EXPECT(start != (char*)-1);
  char* mine = sbrk(1 << 20);
  EXPECT(mine == start);
  fill(mine, 1 << 20, 4);
  EXPECT((char*)sbrk(0) == start + (1 << 20));
  void* blocks[200];
  for (int i = 0; i < 200; ++i) blocks[i] = malloc(5000);  // above the hole now
  EXPECT(holds(mine, 1 << 20, 4));
  for (int i = 0; i < 200; ++i) free(blocks[i]);
  char* top = sbrk(0);
  EXPECT(brk(top) == 0 && sbrk(0) == top);
  EXPECT(brk(top + (4 << 20)) == 0);
  memset(top, 1, 4 << 20);
  EXPECT(sbrk(-(4 << 20)) == top + (4 << 20) && sbrk(0) == top);
  errno = 0;
  int result = brk((void*)(uintptr_t)0x7fffffffffff0000);
  say("brk too far %d errno %d", result, errno);
  errno = 0;
  void* refused = sbrk((intptr_t)1 << 46);
  say("sbrk too far %d errno %d", refused == (void*)-1, errno);
  EXPECT(sbrk(0) == top);
  say("contents kept %d", holds(mine, 1 << 20, 4));
  return 0;
}
