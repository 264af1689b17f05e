// Counts on the lowest free descriptor, as shells, daemons and POSIX do: closes 0 and opens a file
// to be 0, and moves files with dup2 over numbers that are free. A second thread that opens files
// in the same table takes such a number for a moment, or makes dup2 fail with EBUSY.
#include <fcntl.h>
#include <time.h>

#include "program.h"

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(void) {
  int wrong = 0, busy = 0;
  int file = open("/dev/null", O_RDONLY);
  EXPECT(file >= 0);
  // A growing program is looked at often, an idle one rarely.
  char* block = malloc(64 << 20);
  EXPECT(block != NULL);
  size_t touched = 0;
  for (double end = now() + 1.5; now() < end;) {
    for (int i = 0; i < 200; ++i) {
      close(0);
      int fd = open("/dev/null", O_RDONLY);
      if (fd != 0) {
        ++wrong;
        dup2(fd, 0);
        close(fd);
      }
      int free_number = 500 + i;
      if (dup2(file, free_number) != free_number) ++busy;
      close(free_number);
    }
    if (touched < (64u << 20)) block[touched] = 1;
    touched += 4096;
  }
  free(block);
  say("not the lowest number %d, not moved %d", wrong, busy);
  return 0;
}
