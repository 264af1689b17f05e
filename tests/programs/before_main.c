// Allocates before libraries' constructors ran (preinit_array), in constructors and in an
// ifunc-free order that a preloaded library cannot choose; blocks made early are freed late.
#include "program.h"

static char* g_from_preinit;
static char* g_from_constructor;

static void in_preinit(int argc, char** argv, char** env) {
  (void)argc, (void)argv, (void)env;
  g_from_preinit = malloc(300000);
  if (g_from_preinit != NULL) fill(g_from_preinit, 300000, 1);
  free(calloc(17, 3));
}
__attribute__((section(".preinit_array"),
               used)) static void (*const g_preinit)(int, char**, char**) = in_preinit;

__attribute__((constructor(101))) static void in_constructor(void) {
  g_from_constructor = realloc(malloc(10), 5 << 20);
  if (g_from_constructor != NULL) fill(g_from_constructor, 5 << 20, 2);
}

__attribute__((destructor(101))) static void in_destructor(void) {
  char* late = malloc(4096);
  EXPECT(late != NULL && holds(g_from_constructor, 5 << 20, 2));
  free(late);
  free(g_from_constructor);
  say("destructor: contents kept");
}

int main(void) {
  EXPECT(g_from_preinit != NULL && holds(g_from_preinit, 300000, 1));
  g_from_preinit = realloc(g_from_preinit, 600000);
  EXPECT(holds(g_from_preinit, 300000, 1));
  free(g_from_preinit);
  say("main: contents kept");
  return 0;
}
