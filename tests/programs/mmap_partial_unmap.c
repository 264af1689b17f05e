// Takes mappings apart in every way: head, middle, tail, two at once, over one's own pages with
// MAP_FIXED. What is left must hold its contents, and a guard's books must follow.
#include <sys/mman.h>

#include "program.h"

enum { kPage = 4096 };
static const int kFlags = MAP_PRIVATE | MAP_ANONYMOUS;

static char* make(size_t pages) {
  char* area = mmap(NULL, pages * kPage, PROT_READ | PROT_WRITE, kFlags, -1, 0);
  EXPECT(area != MAP_FAILED);
  fill(area, pages * kPage, 6);
  return area;
}

static void take_apart(size_t pages) {
  char* area = make(pages);
  EXPECT(munmap(area, kPage) == 0);
  EXPECT(munmap(area + (pages - 1) * kPage, kPage) == 0);
  EXPECT(munmap(area + pages / 2 * kPage, 2 * kPage) == 0);
  EXPECT(munmap(area + pages / 2 * kPage, 2 * kPage) == 0);  // nothing there: no error
  EXPECT(area[kPage] == (char)(unsigned char)(6 + kPage * 31u));
  EXPECT(munmap(area, pages * kPage) == 0);  // with holes
}

static void replace_in_place(size_t pages) {
  char* area = make(pages);
  for (int i = 0; i < 50; ++i) {
    char* same =
        mmap(area + kPage, (pages - 2) * kPage, PROT_READ | PROT_WRITE, kFlags | MAP_FIXED, -1, 0);
    EXPECT(same == area + kPage && same[0] == 0);
    memset(same, 1, (pages - 2) * kPage);
  }
  EXPECT(area[0] == 6);
  EXPECT(munmap(area, pages * kPage) == 0);
}

static void over_two(size_t pages) {
  char* reserve = mmap(NULL, 3 * pages * kPage, PROT_NONE, kFlags, -1, 0);
  EXPECT(reserve != MAP_FAILED);
  for (size_t i = 0; i < 3; i += 2) {
    char* part = mmap(reserve + i * pages * kPage, pages * kPage, PROT_READ | PROT_WRITE,
                      kFlags | MAP_FIXED, -1, 0);
    EXPECT(part != MAP_FAILED);
    fill(part, pages * kPage, 8);
  }
  EXPECT(munmap(reserve + pages / 2 * kPage, 2 * pages * kPage) == 0);
  EXPECT(holds(reserve, pages / 2 * kPage, 8));
  EXPECT(munmap(reserve, 3 * pages * kPage) == 0);
}

int main(void) {
  static const size_t kSizes[] = {16, 300, 5000};
  for (int i = 0; i < 3; ++i) {
    take_apart(kSizes[i]);
    replace_in_place(kSizes[i]);
    over_two(kSizes[i]);
  }
  for (int i = 0; i < 3000; ++i) {
    char* area = make(20);
    EXPECT(munmap(area, 20 * kPage) == 0);
  }
  errno = 0;
  void* volatile bad = (void*)1;
  int result = munmap(bad, kPage);
  say("unaligned %d errno %d", result, errno);
  say("taken apart");
  return 0;
}
