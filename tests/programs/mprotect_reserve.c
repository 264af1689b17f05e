// A reservation of 1 TB without access, as arena allocators make, of which parts become writable,
// go back and become writable again. Only what was made writable may count, and only once.
#include <sys/mman.h>

#include "program.h"

int main(void) {
  const size_t terabyte = (size_t)1 << 40;
  const size_t chunk = 2 << 20;
  char* reserve = mmap(NULL, terabyte, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(reserve != MAP_FAILED);
  for (size_t i = 0; i < 64; ++i) {
    EXPECT(mprotect(reserve + i * chunk, chunk, PROT_READ | PROT_WRITE) == 0);
    fill(reserve + i * chunk, 10000, (unsigned)i);
  }
  // The same pages, thousands of times: charged at each call they would be 8 GiB.
  for (int i = 0; i < 4000; ++i) {
    char* at = reserve + (size_t)(i % 64) * chunk;
    EXPECT(mprotect(at, chunk, PROT_READ) == 0);
    EXPECT(mprotect(at, chunk, PROT_READ | PROT_WRITE) == 0);
  }
  int kept = 0;
  for (size_t i = 0; i < 64; ++i) kept += holds(reserve + i * chunk, 10000, (unsigned)i);
  say("%d of 64 parts kept", kept);
  EXPECT(mprotect(reserve, 64 * chunk, PROT_NONE) == 0);
  EXPECT(madvise(reserve, 64 * chunk, MADV_DONTNEED) == 0);
  EXPECT(mprotect(reserve, 64 * chunk, PROT_READ | PROT_WRITE) == 0);
  say("zero again %d", reserve[0] == 0 && reserve[63 * chunk + 9999] == 0);
  errno = 0;
  int result = mprotect(reserve + terabyte - 4096, 3 * 4096ul << 30, PROT_READ);
  say("past the end %d errno %d", result, errno);
  say("unmapped %d", munmap(reserve, terabyte));
  return 0;
}
