// Calls every heap and map function in its odd forms and prints what it answered: zero sizes,
// overflow, bad alignments, the forms of realloc, errno on success and on failure.
#include <malloc.h>
#include <sys/mman.h>

#include "program.h"

static const int kUntouched = 4242;  // no errno has this number
static volatile size_t g_huge = SIZE_MAX / 2;

static const char* is(const void* pointer) { return pointer != NULL ? "block" : "null"; }
static const char* mapped(const void* pointer) {
  return pointer != MAP_FAILED ? "mapped" : "failed";
}

#define SHOW(call)                                     \
  do {                                                 \
    errno = kUntouched;                                \
    void* result = (call);                             \
    int left = errno;                                  \
    say("%-44s %s errno %d", #call, is(result), left); \
    free(result);                                      \
  } while (0)

static void plain(void) {
  SHOW(malloc(0));
  SHOW(malloc(1));
  SHOW(malloc(1 << 20));
  SHOW(malloc(g_huge));
  SHOW(malloc(SIZE_MAX));
  SHOW(malloc(SIZE_MAX - 64));
  SHOW(calloc(0, 0));
  SHOW(calloc(0, 8));
  SHOW(calloc(8, 0));
  SHOW(calloc(1000, 1000));
  SHOW(calloc(g_huge, 3));
  SHOW(calloc(SIZE_MAX, 1));
  unsigned char* zero = calloc(3, 700000);
  size_t wrong = 0;
  for (size_t i = 0; i < 2100000; ++i) wrong += zero[i] != 0;
  say("calloc: %zu bytes are not zero", wrong);
  free(zero);
  errno = kUntouched;
  free(NULL);
  say("free(NULL) errno %d", errno);
  void* block = malloc(100);
  errno = kUntouched;
  free(block);
  say("free errno %d", errno);
  void* large = malloc(8 << 20);
  errno = kUntouched;
  free(large);
  say("free of a large block errno %d", errno);
}

static void resized(void) {
  SHOW(realloc(NULL, 0));
  SHOW(realloc(NULL, 100));
  SHOW(realloc(NULL, g_huge));
  SHOW(reallocarray(NULL, 10, 10));
  SHOW(reallocarray(NULL, g_huge, 4));
  SHOW(reallocarray(NULL, 0, 4));
  unsigned char* block = malloc(1000);
  fill(block, 1000, 7);
  errno = kUntouched;
  void* refused = realloc(block, g_huge);
  say("realloc refused: %s errno %d, contents %d", is(refused), errno, holds(block, 1000, 7));
  refused = reallocarray(block, g_huge, 4);
  say("reallocarray refused: %s errno %d, contents %d", is(refused), errno, holds(block, 1000, 7));
  errno = kUntouched;
  block = realloc(block, 5 << 20);
  say("realloc grown: errno %d, contents %d", errno, holds(block, 1000, 7));
  block = realloc(block, 500);
  say("realloc shrunk: contents %d", holds(block, 500, 7));
  errno = kUntouched;
  void* gone = realloc(block, 0);
  say("realloc to zero: %s errno %d", is(gone), errno);
  free(gone);
}

static void aligned(void) {
  static const size_t kAlignments[] = {0, 1, 2, 3, 8, 16, 24, 64, 100, 4096, 2 << 20};
  for (size_t i = 0; i < sizeof(kAlignments) / sizeof(*kAlignments); ++i) {
    size_t alignment = kAlignments[i];
    void* block = (void*)0x55;
    errno = kUntouched;
    int result = posix_memalign(&block, alignment, 1000);
    int fits = result == 0 && (uintptr_t)block % alignment == 0;
    say("posix_memalign %zu: %d, errno %d, aligned %d, pointer kept %d", alignment, result, errno,
        fits, block == (void*)0x55);
    if (result == 0) free(block);
    errno = kUntouched;
    block = aligned_alloc(alignment, 1000);
    say("aligned_alloc %zu: %s errno %d", alignment, is(block), errno);
    free(block);
    errno = kUntouched;
    block = memalign(alignment, 1000);
    say("memalign %zu: %s errno %d", alignment, is(block), errno);
    free(block);
  }
  void* kept = (void*)0x55;
  errno = kUntouched;
  int result = posix_memalign(&kept, 64, g_huge);
  say("posix_memalign huge: %d errno %d, pointer kept %d", result, errno, kept == (void*)0x55);
  result = posix_memalign(&kept, 3, g_huge);
  say("posix_memalign huge and bad: %d", result);
  SHOW(posix_memalign(&kept, 64, 0) == 0 ? kept : NULL);
  SHOW(aligned_alloc(64, g_huge));
  SHOW(memalign(4096, SIZE_MAX - 100));
  SHOW(memalign(g_huge, 16));
  SHOW(valloc(0));
  SHOW(valloc(100));
  SHOW(valloc(g_huge));
  SHOW(pvalloc(0));
  SHOW(pvalloc(100));
  SHOW(pvalloc(SIZE_MAX));
}

static void usable(void) {
  static const size_t kSizes[] = {0, 1, 24, 25, 1000, 131072, 1 << 20};
  say("malloc_usable_size(NULL) %zu", malloc_usable_size(NULL));
  for (size_t i = 0; i < sizeof(kSizes) / sizeof(*kSizes); ++i) {
    unsigned char* block = malloc(kSizes[i]);
    size_t size = malloc_usable_size(block);
    fill(block, size, 3);
    say("usable of %zu: enough %d, holds %d", kSizes[i], size >= kSizes[i], holds(block, size, 3));
    free(block);
  }
}

#define SHOW_MAP(size, protection, flags, fd, offset)                                      \
  do {                                                                                     \
    errno = kUntouched;                                                                    \
    void* area = mmap(NULL, size, protection, flags, fd, offset);                          \
    say("mmap(%s, %s, %s, %s, %s): %s errno %d", #size, #protection, #flags, #fd, #offset, \
        mapped(area), errno);                                                              \
    if (area != MAP_FAILED) say("munmap %d", munmap(area, size));                          \
  } while (0)

static void mappings(void) {
  const int private = MAP_PRIVATE | MAP_ANONYMOUS;
  SHOW_MAP(0, PROT_READ, private, -1, 0);
  SHOW_MAP(4096, PROT_READ | PROT_WRITE, private, -1, 0);
  SHOW_MAP(100, PROT_READ | PROT_WRITE, private, -1, 0);
  SHOW_MAP(SIZE_MAX - 8192, PROT_READ | PROT_WRITE, private, -1, 0);
  SHOW_MAP(g_huge, PROT_READ | PROT_WRITE, private, -1, 0);
  SHOW_MAP(4096, PROT_READ, MAP_PRIVATE, -1, 0);
  SHOW_MAP(4096, PROT_READ, MAP_ANONYMOUS, -1, 0);
  SHOW_MAP(4096, PROT_READ, private, -1, 100);
  SHOW_MAP(4096, PROT_NONE, private, -1, 0);
  SHOW_MAP(4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  SHOW_MAP(64 << 20, PROT_READ | PROT_WRITE, private | MAP_NORESERVE, -1, 0);
  errno = kUntouched;
  void* area = mmap64(NULL, 8192, PROT_READ | PROT_WRITE, private, -1, 0);
  say("mmap64 %s errno %d", mapped(area), errno);
  fill(area, 8192, 9);
  say("mprotect %d errno %d", mprotect(area, 4096, PROT_READ), errno);
  errno = 0;
  say("mprotect unaligned %d", mprotect((char*)area + 1, 4096, PROT_READ));
  say("errno %d", errno);
  errno = 0;
  say("munmap unaligned %d", munmap((char*)area + 1, 4096));
  say("errno %d", errno);
  errno = kUntouched;
  say("munmap of part %d, rest %d", munmap(area, 4096), holds((char*)area + 4096, 1, 9));
  say("errno %d", errno);
  munmap((char*)area + 4096, 4096);
}

int main(void) {
  plain();
  resized();
  aligned();
  usable();
  mappings();
  return 0;
}
