// Grows by 16 MiB at a time until memory is refused, beside something else that fills the group:
// `grow_beside CASE FILE`. Says how much it got. Bare it is killed.
//   dirty   another thread writes FILE over and over
//   clean   another thread reads FILE over and over
//   mlock   FILE is mapped and locked: cache that the kernel cannot give back
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "program.h"

#define STEP ((size_t)16 << 20)

static const char* g_file;
static volatile int g_over;

static void* write_over_and_over(void* nothing) {
  static char buffer[1 << 16];
  while (!g_over) {
    const int file = open(g_file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    EXPECT(file >= 0);
    for (int i = 0; i < 2048 && !g_over; ++i) {
      EXPECT(write(file, buffer, sizeof buffer) == sizeof buffer);
    }
    close(file);
  }
  return nothing;
}

static void* read_over_and_over(void* nothing) {
  static char buffer[1 << 16];
  while (!g_over) {
    const int file = open(g_file, O_RDONLY);
    EXPECT(file >= 0);
    while (!g_over && read(file, buffer, sizeof buffer) > 0) {
    }
    close(file);
  }
  return nothing;
}

static void lock_file(void) {
  struct stat status;
  const int file = open(g_file, O_RDONLY);
  EXPECT(file >= 0 && fstat(file, &status) == 0);
  void* pages = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, file, 0);
  EXPECT(pages != MAP_FAILED && mlock(pages, (size_t)status.st_size) == 0);
}

int main(int count, char** words) {
  EXPECT(count == 3);
  g_file = words[2];
  pthread_t thread;
  if (strcmp(words[1], "mlock") == 0) {
    lock_file();
  } else {
    void* (*beside)(void*) =
        strcmp(words[1], "dirty") == 0 ? write_over_and_over : read_over_and_over;
    EXPECT(pthread_create(&thread, NULL, beside, NULL) == 0);
  }
  size_t got = 0;
  for (char* block; (block = malloc(STEP)) != NULL; got += STEP) memset(block, 1, STEP);
  say("%zu MiB", got >> 20);
  usleep(500 * 1000);  // what goes on beside it does no harm now either
  g_over = 1;
  if (strcmp(words[1], "mlock") != 0) EXPECT(pthread_join(thread, NULL) == 0);
  return 0;
}
