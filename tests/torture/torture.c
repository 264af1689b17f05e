// A random program: `torture SEED BYTES` carries out the plan of that seed with a thread for each
// worker; `torture --print SEED BYTES` prints it. Exit status 0, or what block.h says.
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "worker.h"

static void* run(void* argument) {
  const int worker = (int)(intptr_t)argument;
  while (torture_step(worker)) {
  }
  return NULL;
}

static int print(const char* seed, const char* bytes) {
  static struct plan plan;
  make_plan(&plan, strtoull(seed, NULL, 10), strtoull(bytes, NULL, 10));
  print_plan(&plan);
  return 0;
}

int main(int count, char** words) {
  if (count == 4 && strcmp(words[1], "--print") == 0) return print(words[2], words[3]);
  if (count != 3) {
    fprintf(stderr, "usage: torture [--print] SEED BYTES\n");
    return 2;
  }
  const int workers = torture_open(strtoull(words[1], NULL, 10), strtoull(words[2], NULL, 10));
  pthread_t threads[kMaxThreads];
  int started[kMaxThreads] = {0};
  for (int i = 1; i < workers; ++i) {
    const int error = pthread_create(&threads[i], NULL, run, (void*)(intptr_t)i);
    if (error != 0 && error != EAGAIN && error != ENOMEM) {
      fail(kWrongError, "pthread_create: %d", error);
    }
    started[i] = error == 0;
  }
  run((void*)0);
  for (int i = 1; i < workers; ++i) {
    if (started[i]) pthread_join(threads[i], NULL);
    if (!started[i]) run((void*)(intptr_t)i);
  }
  torture_close();
  return 0;
}
