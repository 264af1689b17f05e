// The library that dlopen_loop opens: allocates in its constructor, its destructor and its TLS.
#include <stdlib.h>
#include <string.h>

static char* g_block;
static __thread char t_block[5000];

__attribute__((constructor)) static void start(void) {
  g_block = malloc(100000);
  if (g_block != NULL) memset(g_block, 1, 100000);
}
__attribute__((destructor)) static void stop(void) {
  char* last = malloc(300000);
  free(last);
  free(g_block);
}

int answer(int question) {
  t_block[question % 5000] = 1;
  char* block = calloc(1, 2 << 20);
  if (block == NULL) return -1;
  free(block);
  return question + t_block[question % 5000];
}
