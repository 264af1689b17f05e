// How many files can be opened at once: all that the limit allows.
#include <fcntl.h>

#include "program.h"

int main(void) {
  free(malloc(3000000));
  int count = 0;
  while (open("/dev/null", O_RDONLY) >= 0) ++count;
  int error = errno;
  free(malloc(3000000));
  say("%d files, then error %d", count, error);
  return 0;
}
