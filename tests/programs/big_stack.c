// Recurses through a stack of 1 GiB: growth that nobody asks for.
#include <pthread.h>

#include "program.h"

static int deeper(int depth) {
  volatile char frame[64 * 1024];
  memset((char*)frame, depth, sizeof frame);
  if (depth == 0) return 0;
  return deeper(depth - 1) + (frame[depth] != 0);
}

static void* recurse(void* nothing) {
  deeper(15 * 1024);
  return nothing;
}

int main(void) {
  pthread_t thread;
  pthread_attr_t attributes;
  EXPECT(pthread_attr_init(&attributes) == 0);
  EXPECT(pthread_attr_setstacksize(&attributes, (size_t)1 << 30) == 0);
  EXPECT(pthread_create(&thread, &attributes, recurse, NULL) == 0);
  EXPECT(pthread_join(thread, NULL) == 0);
  say("came back");
  return 0;
}
