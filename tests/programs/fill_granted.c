// Fills memory that was granted long before, slowly: nobody asks while it runs out.
#include <sys/mman.h>

#include "program.h"

#define BLOCK ((size_t)70 << 20)

int main(void) {
  char* blocks[2];
  for (int i = 0; i < 2; ++i) {
    blocks[i] = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(blocks[i] != MAP_FAILED);
  }
  for (int i = 0; i < 2; ++i) {
    for (size_t at = 0; at < BLOCK; at += 4096) {
      blocks[i][at] = 1;
      if (at % (1 << 20) == 0) usleep(3000);
    }
  }
  say("filled");
  return 0;
}
