/* Writes of one size to one file, from its beginning again every 64 MiB. Prints the processor seconds.
 *   writes PATH BYTES COUNT */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  size_t size = strtoul(argv[2], NULL, 10);
  long count = atol(argv[3]);
  int fd = open(argv[1], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  char* data = calloc(1, size);
  if (fd < 0 || !data) return 1;
  size_t behind = 0;
  clock_t before = clock();
  for (long i = 0; i < count; ++i) {
    if (write(fd, data, size) != (ssize_t)size) return 1;
    behind += size;
    if (behind >= 64 << 20) {
      if (lseek(fd, 0, SEEK_SET) != 0) return 1;
      behind = 0;
    }
  }
  printf("%.6f\n", (double)(clock() - before) / CLOCKS_PER_SEC);
  return 0;
}
