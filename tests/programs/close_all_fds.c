// Closes every descriptor from 3 up, as daemons do, over and over, and goes on allocating: whatever
// the guard had open is gone, and nothing of the program's may be hit by its reopening.
#include <fcntl.h>
#include <sys/resource.h>

#include "program.h"

static void close_from_3(void) {
  struct rlimit limit;
  EXPECT(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  int last = limit.rlim_cur < 65536 ? (int)limit.rlim_cur : 65536;
  for (int fd = 3; fd < last; ++fd) close(fd);
}

static void allocate(void) {
  for (size_t size = 1000; size < (64u << 20); size *= 3) {
    char* block = malloc(size);
    EXPECT(block != NULL);
    memset(block, 1, size);
    free(block);
  }
}

int main(void) {
  for (int round = 0; round < 10; ++round) {
    close_from_3();
    allocate();
    int fd = open("/dev/null", O_WRONLY);
    EXPECT(fd >= 3);
    allocate();
    EXPECT(write(fd, "x", 1) == 1);
    EXPECT(close(fd) == 0);
  }
  say("ten rounds");
  return 0;
}
