// Forks while eight threads allocate; each child allocates, starts a thread of its own and exits.
// 200 times: a lock held by a thread that does not exist in the child hangs one of them.
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "program.h"

static atomic_int g_stop;

static void churn(uint32_t* state, int count) {
  void* window[16] = {0};
  for (int i = 0; i < count; ++i) {
    uint32_t size = next_random(state) % ((i & 63) == 0 ? 400000 : 3000);
    char* block = malloc(size + 1);
    EXPECT(block != NULL);
    block[size] = 1;
    free(window[i & 15]);
    window[i & 15] = block;
  }
  for (int i = 0; i < 16; ++i) free(window[i]);
}

static void* allocate_until_stopped(void* seed) {
  uint32_t state = (uint32_t)(uintptr_t)seed;
  while (!atomic_load(&g_stop)) {
    churn(&state, 150);
    usleep(200);  // eight threads that never sleep would leave the children no processor
  }
  return NULL;
}

static void* allocate_once(void* seed) {
  uint32_t state = (uint32_t)(uintptr_t)seed;
  churn(&state, 100);
  return NULL;
}

static void in_child(int round) {
  uint32_t state = (uint32_t)round;
  churn(&state, 150);
  pthread_t thread;
  EXPECT(pthread_create(&thread, NULL, allocate_once, (void*)(uintptr_t)round) == 0);
  EXPECT(pthread_join(thread, NULL) == 0);
  if (round % 2 == 0) exit(round % 50);
  _exit(round % 50);
}

int main(void) {
  pthread_t threads[8];
  for (uintptr_t i = 0; i < 8; ++i) {
    EXPECT(pthread_create(&threads[i], NULL, allocate_until_stopped, (void*)(i + 1)) == 0);
  }
  int right = 0;
  for (int round = 0; round < 200; ++round) {
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) in_child(round);
    int status = 0;
    EXPECT(waitpid(child, &status, 0) == child);
    right += WIFEXITED(status) && WEXITSTATUS(status) == round % 50;
  }
  atomic_store(&g_stop, 1);
  for (int i = 0; i < 8; ++i) EXPECT(pthread_join(threads[i], NULL) == 0);
  say("%d of 200 children ended as they should", right);
  return 0;
}
