// A program with a dl_iterate_phdr of its own, which asks for libc's by dlsym when it is first called
// (servers do so to keep unwinding from taking the loader's lock). Whoever looks for dlsym itself must
// not call it.
#include <dlfcn.h>
#include <link.h>

#include "program.h"

typedef int (*Look)(struct dl_phdr_info*, size_t, void*);

static int g_depth;

int dl_iterate_phdr(Look look, void* data) {
  static int (*next)(Look, void*);
  if (next == NULL) {
    if (++g_depth > 3) abort();
    next = (int (*)(Look, void*))dlsym(RTLD_NEXT, "dl_iterate_phdr");
  }
  return next(look, data);
}

static int count(struct dl_phdr_info* info, size_t size, void* data) {
  (void)info, (void)size;
  ++*(int*)data;
  return 0;
}

int main(void) {
  int objects = 0;
  dl_iterate_phdr(count, &objects);
  say("objects are seen: %d, the next one was asked for %d time(s)", objects > 2, g_depth);
  return 0;
}
