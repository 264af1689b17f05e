// A vector of writev that another thread takes away and brings back all the time: each call writes or fails
// with EFAULT, as the kernel says.
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "program.h"

enum { kCalls = 60000, kPage = 4096 };
static atomic_int over;
static char* page;
static char byte = 'x';

static void* take_away(void* unused) {
  (void)unused;
  while (!atomic_load(&over)) {
    EXPECT(mprotect(page, kPage, PROT_NONE) == 0);
    EXPECT(mprotect(page, kPage, PROT_READ | PROT_WRITE) == 0);
  }
  return NULL;
}

int main(void) {
  page = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(page != MAP_FAILED);
  *(struct iovec*)page = (struct iovec){&byte, 1};
  int fd = memfd_create("vector", MFD_CLOEXEC);
  pthread_t thread;
  EXPECT(fd >= 0 && pthread_create(&thread, NULL, take_away, NULL) == 0);
  long written = 0;
  for (int i = 0; i < kCalls; ++i) {
    ssize_t result = writev(fd, (struct iovec*)page, 1);
    EXPECT(result == 1 || (result == -1 && errno == EFAULT));
    written += result == 1;
  }
  atomic_store(&over, 1);
  EXPECT(pthread_join(thread, NULL) == 0);
  EXPECT(lseek(fd, 0, SEEK_END) == written);
  say("each call was answered");
  return 0;
}
