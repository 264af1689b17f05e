// Preloaded into a tool: the Nth call of one function of libc fails.
//
// OOMGUARD_FAIL="<function> <number> <errno>". The file that OOMGUARD_FAIL_SEEN names exists once
// the call was made. Only in the process that is called OOMGUARD_FAIL_IN: not in its children.
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char* wanted;
static size_t wanted_length;
static long number, error, count;
static const char* seen;

__attribute__((constructor)) static void read_plan(void) {
  const char* plan = getenv("OOMGUARD_FAIL");
  const char* in = getenv("OOMGUARD_FAIL_IN");
  if (plan == NULL || in == NULL || strcmp(program_invocation_short_name, in) != 0) return;
  const char* blank = strchr(plan, ' ');
  char* rest;
  if (blank == NULL) return;
  number = strtol(blank + 1, &rest, 10);
  error = strtol(rest, NULL, 10);
  seen = getenv("OOMGUARD_FAIL_SEEN");
  wanted_length = (size_t)(blank - plan);
  wanted = plan;
}

static int fails(const char* name) {
  if (wanted == NULL || strlen(name) != wanted_length || memcmp(wanted, name, wanted_length) != 0 ||
      __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED) != number) {
    return 0;
  }
  long fd = seen != NULL ? syscall(SYS_openat, AT_FDCWD, seen, O_WRONLY | O_CREAT, 0600) : -1;
  if (fd >= 0) syscall(SYS_close, fd);
  errno = (int)error;
  return 1;
}

// Looked up at each call: the functions that dlsym itself may call are not among these, apart from
// calloc, which glibc offers under another name.
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void* __libc_malloc(size_t size);
void* __libc_realloc(void* block, size_t size);
void* malloc(size_t size) { return fails("malloc") ? NULL : __libc_malloc(size); }
void* realloc(void* block, size_t size) {
  return fails("realloc") ? NULL : __libc_realloc(block, size);
}

#define WITH_MODE(name, ...)                         \
  int mode = 0;                                      \
  if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) { \
    va_list arguments;                               \
    va_start(arguments, flags);                      \
    mode = va_arg(arguments, int);                   \
    va_end(arguments);                               \
  }                                                  \
  return fails("open") ? -1 : REAL(name)(__VA_ARGS__, flags, mode)

int open(const char* path, int flags, ...) { WITH_MODE(open, path); }
int open64(const char* path, int flags, ...) { WITH_MODE(open64, path); }
int openat(int folder, const char* path, int flags, ...) { WITH_MODE(openat, folder, path); }
int openat64(int folder, const char* path, int flags, ...) { WITH_MODE(openat64, folder, path); }

FILE* fopen(const char* path, const char* mode) {
  return fails("open") ? NULL : REAL(fopen)(path, mode);
}
FILE* fopen64(const char* path, const char* mode) {
  return fails("open") ? NULL : REAL(fopen64)(path, mode);
}
ssize_t write(int fd, const void* from, size_t size) {
  return fails("write") ? -1 : REAL(write)(fd, from, size);
}
ssize_t writev(int fd, const struct iovec* parts, int parts_count) {
  return fails("write") ? -1 : REAL(writev)(fd, parts, parts_count);
}
ssize_t read(int fd, void* to, size_t size) {
  return fails("read") ? -1 : REAL(read)(fd, to, size);
}
int fsync(int fd) { return fails("fsync") ? -1 : REAL(fsync)(fd); }
int rename(const char* from, const char* to) {
  return fails("rename") ? -1 : REAL(rename)(from, to);
}
int mkdir(const char* path, mode_t mode) { return fails("mkdir") ? -1 : REAL(mkdir)(path, mode); }
int unlink(const char* path) { return fails("unlink") ? -1 : REAL(unlink)(path); }
int rmdir(const char* path) { return fails("rmdir") ? -1 : REAL(rmdir)(path); }
DIR* opendir(const char* path) { return fails("opendir") ? NULL : REAL(opendir)(path); }
pid_t fork(void) { return fails("fork") ? -1 : REAL(fork)(); }
int pipe2(int ends[2], int flags) { return fails("pipe") ? -1 : REAL(pipe2)(ends, flags); }
