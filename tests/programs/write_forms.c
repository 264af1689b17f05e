// write in all its forms, into a memory file, a pipe and a device: errors with their errno, bad
// pointers, O_APPEND, partial writes, from a signal handler, and between fork and exec.
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "program.h"

enum { kLarge = 1 << 20, kForms = 6 };
static char data[kLarge];
static void* const kBad = (void*)16;

static ssize_t put(int form, int fd, const void* bytes, size_t size) {
  struct iovec parts[2] = {{(void*)bytes, size / 2}, {(char*)bytes + size / 2, size - size / 2}};
  off_t end = lseek(fd, 0, SEEK_END);
  if (end < 0) end = 0;
  switch (form) {
    case 0: return write(fd, bytes, size);
    case 1: return writev(fd, parts, 2);
    case 2: return pwrite(fd, bytes, size, end);
    case 3: return pwrite64(fd, bytes, size, end);
    case 4: return pwritev(fd, parts, 2, end);
    default: return pwritev2(fd, parts, 2, end, 0);
  }
}

static void tell(const char* what, ssize_t result) {
  int error = errno;
  say("%s: %zd errno %d", what, result, result < 0 ? error : 0);
}

static int memory_file(void) {
  int fd = memfd_create("forms", 0);
  EXPECT(fd >= 0);
  return fd;
}

static void every_form(size_t size) {
  for (int form = 0; form < kForms; ++form) {
    int fd = memory_file();
    errno = 77;
    ssize_t written = put(form, fd, data, size);
    int kept = errno;
    say("form %d: %zd, errno stays %d, position %ld", form, written, kept,
        (long)lseek(fd, 0, SEEK_CUR));
    EXPECT(put(form, fd, data, size) == (ssize_t)size && lseek(fd, 0, SEEK_END) == 2 * (off_t)size);
    EXPECT(close(fd) == 0);
    tell("closed", put(form, fd, data, size));
    tell("device", put(form, open("/dev/null", O_WRONLY | O_CLOEXEC), data, size));
  }
}

static void bad_vectors(int fd) {
  struct iovec part = {data, 10};
  struct iovec parts_of_bad[2] = {{data, 10}, {kBad, 10}};
  struct iovec huge[2] = {{data, SIZE_MAX / 2}, {data, SIZE_MAX / 2}};
  tell("bad vector", writev(fd, kBad, 1));
  tell("bad vector at", pwritev(fd, kBad, 1, 0));
  tell("bad vector 2", pwritev2(fd, kBad, 1, 0, 0));
  tell("null vector", writev(fd, NULL, 1));
  tell("no parts", writev(fd, kBad, 0));
  tell("fewer than none", writev(fd, &part, -1));
  tell("too many", writev(fd, &part, IOV_MAX + 1));
  tell("second part bad", writev(fd, parts_of_bad, 2));
  tell("too long", writev(fd, huge, 2));
  tell("bad flags", pwritev2(fd, &part, 1, 0, 1 << 30));
  tell("negative offset", pwritev(fd, &part, 1, -5));
}

// A vector that begins on the last readable page and goes on where nothing is.
static void vector_over_the_edge(int fd) {
  char* pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(pages != MAP_FAILED && munmap(pages + 4096, 4096) == 0);
  struct iovec* last = (struct iovec*)(pages + 4096) - 1;
  *last = (struct iovec){data, 3};
  tell("one at the edge", writev(fd, last, 1));
  tell("two over the edge", writev(fd, last, 2));
  EXPECT(mprotect(pages, 4096, PROT_NONE) == 0);
  tell("not to be read", writev(fd, last, 1));
  EXPECT(munmap(pages, 4096) == 0);
}

static void bad_offsets(int fd) {
  int in = memory_file();
  EXPECT(write(in, data, 100) == 100);
  tell("sendfile", sendfile(fd, in, kBad, 10));
  tell("copy_file_range from", copy_file_range(in, kBad, fd, NULL, 10, 0));
  tell("copy_file_range to", copy_file_range(in, NULL, fd, kBad, 10, 0));
  tell("splice", splice(in, kBad, fd, NULL, 10, 0));
  off_t from = 20;
  tell("sendfile of the rest", sendfile(fd, in, &from, kLarge));
  say("read up to %ld", (long)from);
  EXPECT(close(in) == 0);
}

static void bad_data(int fd) {
  tell("bad data", write(fd, kBad, 10));
  tell("much bad data", write(fd, kBad, kLarge));
  tell("much bad data at", pwrite(fd, kBad, kLarge, 5));
  tell("negative offset", pwrite(fd, data, kLarge, -1));
  tell("longer than all", write(fd, data, SIZE_MAX));
}

static void appending(void) {
  int fd = memory_file();
  EXPECT(write(fd, data, 100) == 100 && fcntl(fd, F_SETFL, O_APPEND) == 0);
  EXPECT(lseek(fd, 0, SEEK_SET) == 0 && write(fd, data, kLarge) == kLarge);
  say("appended: ends at %ld", (long)lseek(fd, 0, SEEK_END));
  EXPECT(close(fd) == 0);
}

static void partly(void) {
  int ends[2];
  EXPECT(pipe2(ends, O_NONBLOCK) == 0 && fcntl(ends[1], F_SETPIPE_SZ, 65536) == 65536);
  tell("into a pipe", write(ends[1], data, kLarge));
  tell("into a full pipe", write(ends[1], data, kLarge));
  EXPECT(close(ends[0]) == 0);
  tell("into a broken pipe", put(1, ends[1], data, kLarge));
  EXPECT(close(ends[1]) == 0);
  int sealed = memfd_create("sealed", MFD_ALLOW_SEALING);
  EXPECT(write(sealed, data, 4096) == 4096 && fcntl(sealed, F_ADD_SEALS, F_SEAL_GROW) == 0);
  tell("sealed", write(sealed, data, kLarge));
  tell("half beyond the seal", pwrite(sealed, data, kLarge, 2048));
  EXPECT(close(sealed) == 0);
}

static int handled;

static void in_handler(int number) {
  int saved = errno;
  for (int form = 0; form < kForms; ++form) EXPECT(put(form, handled, data, kLarge) == kLarge);
  EXPECT(number == SIGUSR1);
  errno = saved;
}

static void from_handlers(int flags) {
  static char stack[65536];
  stack_t own = {.ss_sp = stack, .ss_size = sizeof(stack)};
  struct sigaction action = {.sa_handler = in_handler, .sa_flags = flags};
  handled = memory_file();
  EXPECT(sigaltstack(&own, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
  EXPECT(raise(SIGUSR1) == 0);
  say("from a handler: %ld", (long)lseek(handled, 0, SEEK_END));
  EXPECT(close(handled) == 0);
}

static void before_exec(pid_t (*make_child)(void)) {
  int fd = memory_file();
  pid_t child = make_child();
  if (child == 0) {
    for (int form = 0; form < kForms; ++form) {
      if (put(form, fd, data, kLarge) != kLarge) _exit(1);
    }
    execl("/bin/true", "true", (char*)NULL);
    _exit(2);
  }
  int status;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
  say("before exec: %ld", (long)lseek(fd, 0, SEEK_END));
  EXPECT(close(fd) == 0);
}

int main(void) {
  EXPECT(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
  fill(data, sizeof(data), 3);
  every_form(10);
  every_form(kLarge);
  int targets[] = {memory_file(), open("/dev/null", O_WRONLY), open("/dev/null", O_RDONLY), -1};
  for (int i = 0; i < 4; ++i) {
    bad_vectors(targets[i]);
    vector_over_the_edge(targets[i]);
    bad_data(targets[i]);
    bad_offsets(targets[i] < 0 ? 999 : targets[i]);
  }
  appending();
  partly();
  from_handlers(0);
  from_handlers(SA_ONSTACK);
  before_exec(fork);
  return 0;
}
