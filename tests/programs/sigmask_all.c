// Blocks every signal, in main and in threads, and allocates; then looks whether anything became
// pending and whether the masks and handlers are what the program set.
#include <pthread.h>
#include <signal.h>

#include "program.h"

static void allocate(void) {
  uint32_t state = 3;
  for (int i = 0; i < 3000; ++i) {
    size_t size = next_random(&state) % 500000;
    char* block = malloc(size + 1);
    EXPECT(block != NULL);
    memset(block, 1, size < 5000 ? size : 5000);
    free(block);
  }
}

static void* in_thread(void* unused) {
  allocate();
  return unused;
}

static int count(const sigset_t* set) {
  int members = 0;
  for (int i = 1; i <= SIGRTMAX; ++i) members += sigismember(set, i) == 1;
  return members;
}

static int handled(void) {
  int other = 0;
  for (int i = 1; i <= SIGRTMAX; ++i) {
    struct sigaction action;
    if (sigaction(i, NULL, &action) == 0 && action.sa_handler != SIG_DFL) ++other;
  }
  return other;
}

int main(void) {
  sigset_t all, now, pending;
  say("handlers at start %d", handled());
  sigfillset(&all);
  EXPECT(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
  pthread_t threads[4];
  for (int i = 0; i < 4; ++i) EXPECT(pthread_create(&threads[i], NULL, in_thread, NULL) == 0);
  allocate();
  for (int i = 0; i < 4; ++i) EXPECT(pthread_join(threads[i], NULL) == 0);
  EXPECT(sigprocmask(SIG_SETMASK, NULL, &now) == 0 && sigpending(&pending) == 0);
  say("blocked %d, pending %d, handlers %d", count(&now), count(&pending), handled());
  return 0;
}
