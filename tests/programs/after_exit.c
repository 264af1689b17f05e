// Allocates after main has returned: in atexit functions, in destructors, in stdio's last flush,
// and in another thread that goes on while the process is being taken down.
#include <pthread.h>
#include <stdatomic.h>

#include "program.h"

static atomic_int g_stop;

static void* allocate_for_ever(void* unused) {
  (void)unused;
  for (uint32_t state = 1;;) {
    size_t size = next_random(&state) % 300000;
    char* block = malloc(size + 1);
    if (block == NULL) _exit(97);
    block[size] = 1;
    free(block);
    if (atomic_load(&g_stop)) atomic_store(&g_stop, 2);
  }
  return NULL;
}

static void in_atexit(void) {
  char* block = calloc(1, 3 << 20);
  EXPECT(block != NULL);
  free(block);
  say("atexit");
}

static void register_more(void) {
  EXPECT(atexit(in_atexit) == 0);  // allowed from within exit
  say("atexit that registers another");
}

__attribute__((destructor)) static void in_destructor(void) {
  atomic_store(&g_stop, 1);
  while (atomic_load(&g_stop) != 2) usleep(1000);
  char* block = malloc(100);
  block = realloc(block, 1 << 20);
  EXPECT(block != NULL);
  free(block);
  say("destructor");
}

int main(void) {
  pthread_t thread;
  EXPECT(pthread_create(&thread, NULL, allocate_for_ever, NULL) == 0);
  EXPECT(atexit(register_more) == 0);
  printf("left in stdio's buffer\n");
  return 7;
}
