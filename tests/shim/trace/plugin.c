/* A library that is loaded and unloaded while stacks are read. It is built three times: only the
   size of its frames differs (ROOM), so that each instruction of the one has a twin at the same
   place of another, for which the unwind tables say something else; or only a number (SALT), so
   that the frames, too, lie at the same places. */
#include <stddef.h>

#include "tests/shim/trace/shapes.h"

extern void plugin_is_being_loaded(void) __attribute__((weak)); /* the program's */

__attribute__((noinline, visibility("default"))) int plugin_call(Leaf leaf, void* data) {
  char room[ROOM];
  char* at = room;
  __asm__ volatile("" : "+r"(at) : : "memory");
  at[7] = 1;
  const int answer = leaf(data);
  return answer + at[7];
}

static int tell(void* unused) {
  (void)unused;
  if (plugin_is_being_loaded != NULL) plugin_is_being_loaded();
  return 1;
}

static volatile int g_sum = SALT;
__attribute__((constructor)) static void start(void) { g_sum += plugin_call(tell, NULL); }
__attribute__((destructor)) static void stop(void) { g_sum += plugin_call(tell, NULL); }
