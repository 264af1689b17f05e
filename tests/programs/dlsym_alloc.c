// Looks the allocation functions up by dlsym (in every scope, and by version) and uses what it
// gets; a look-up that fails makes dlsym allocate its error text.
#include <dlfcn.h>

#include "program.h"

typedef void* (*Malloc)(size_t);
typedef void (*Free)(void*);
typedef void* (*Realloc)(void*, size_t);

static void use(const char* scope, void* handle) {
  Malloc get = (Malloc)dlsym(handle, "malloc");
  Realloc resize = (Realloc)dlsym(handle, "realloc");
  Free give = (Free)dlsym(handle, "free");
  EXPECT(get != NULL && resize != NULL && give != NULL);
  // Blocks cross between what the program is linked to and what it looked up.
  char* block = get(1000);
  fill(block, 1000, 4);
  block = realloc(block, 3 << 20);
  block = resize(block, 500000);
  EXPECT(holds(block, 1000, 4));
  free(block);
  give(malloc(100));
  say("%s: blocks cross", scope);
}

int main(void) {
  use("RTLD_DEFAULT", RTLD_DEFAULT);
  use("RTLD_NEXT", RTLD_NEXT);
  use("self", dlopen(NULL, RTLD_NOW));
  use("libc.so.6", dlopen("libc.so.6", RTLD_NOW));
  int failed = 0;
  for (int i = 0; i < 1000; ++i) {
    char name[64];
    snprintf(name, sizeof(name), "no_such_function_%d", i);
    failed += dlsym(RTLD_DEFAULT, name) == NULL && dlerror() != NULL;
  }
  say("failed look-ups %d", failed);
  say("versioned %d", dlvsym(RTLD_DEFAULT, "no_such_function", "GLIBC_2.2.5") == NULL);
  return 0;
}
