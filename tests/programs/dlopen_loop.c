// Opens and closes a library a few hundred times while another thread allocates: the loader
// allocates under its own lock, and calls constructors and destructors that allocate, too.
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

#include "program.h"

static atomic_int g_stop;

static void* allocate(void* unused) {
  uint32_t state = 11;
  while (!atomic_load(&g_stop)) {
    size_t size = next_random(&state) % 200000;
    char* block = malloc(size + 1);
    EXPECT(block != NULL);
    block[size] = 1;
    free(block);
  }
  return unused;
}

int main(int argc, char** argv) {
  EXPECT(argc == 2);  // the path of a library with an allocating constructor
  pthread_t thread;
  EXPECT(pthread_create(&thread, NULL, allocate, NULL) == 0);
  int sum = 0;
  for (int i = 0; i < 300; ++i) {
    void* library = dlopen(argv[1], i % 2 == 0 ? RTLD_NOW : RTLD_LAZY | RTLD_GLOBAL);
    EXPECT(library != NULL);
    int (*answer)(int) = (int (*)(int))dlsym(library, "answer");
    EXPECT(answer != NULL);
    sum += answer(i);
    EXPECT(dlclose(library) == 0);
    EXPECT(dlopen("/nonexistent/library.so", RTLD_NOW) == NULL && dlerror() != NULL);
  }
  atomic_store(&g_stop, 1);
  EXPECT(pthread_join(thread, NULL) == 0);
  say("sum of answers %d", sum);
  return 0;
}
