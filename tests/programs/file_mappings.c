// Mappings of files that grow and become writable: pages of a file are nobody's request for memory,
// however large.
#include <fcntl.h>
#include <sys/mman.h>

#include "program.h"

#define LARGE ((size_t)4 << 30)

int main(void) {
  char name[] = "/var/tmp/file_mappings_XXXXXX";
  int file = mkstemp(name);
  EXPECT(file >= 0 && unlink(name) == 0 && ftruncate(file, LARGE) == 0);
  void* range = mmap(NULL, LARGE, PROT_READ, MAP_SHARED, file, 0);
  EXPECT(range != MAP_FAILED);
  say("made writable: %d", mprotect(range, LARGE, PROT_READ | PROT_WRITE));
  EXPECT(munmap(range, LARGE) == 0);
  range = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  EXPECT(range != MAP_FAILED);
  range = mremap(range, 1 << 20, LARGE, MREMAP_MAYMOVE);
  say("grown: %d", range != MAP_FAILED);
  return 0;
}
