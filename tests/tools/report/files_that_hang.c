// Preloaded: whoever looks at a file below OOMGUARD_TEST_HANGS gets no answer, as from a dead
// server of files.
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void look_at(const char* path) {
  const char* below = getenv("OOMGUARD_TEST_HANGS");
  while (below != NULL && strncmp(path, below, strlen(below)) == 0) pause();
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int stat(const char* path, struct stat* info) {
  look_at(path);
  return REAL(stat)(path, info);
}

int lstat(const char* path, struct stat* info) {
  look_at(path);
  return REAL(lstat)(path, info);
}

int open(const char* path, int flags, ...) {
  look_at(path);
  va_list more;
  va_start(more, flags);
  const int mode = va_arg(more, int);
  va_end(more);
  return REAL(open)(path, flags, mode);
}
