// Signals as far as malloc allows them: handlers that allocate while the main program waits outside
// malloc, then storms of alarms (handler without allocation, SA_RESTART) while it allocates.
#include <signal.h>
#include <sys/time.h>

#include "program.h"

static volatile sig_atomic_t g_fired;
static volatile sig_atomic_t g_errno_kept = 1;

static void allocating(int signal_number) {
  (void)signal_number;
  char* block = malloc(3 << 20);
  EXPECT(block != NULL);
  block = realloc(block, 6 << 20);
  free(block);
  ++g_fired;
}

static void counting(int signal_number) {
  (void)signal_number;
  ++g_fired;
}

static void on(int signal_number, void (*handler)(int), int flags) {
  struct sigaction action = {0};
  action.sa_handler = handler;
  action.sa_flags = flags;
  EXPECT(sigaction(signal_number, &action, NULL) == 0);
}

static void storm(void) {
  struct itimerval often = {{0, 200}, {0, 200}};
  on(SIGALRM, counting, SA_RESTART);
  g_fired = 0;
  EXPECT(setitimer(ITIMER_REAL, &often, NULL) == 0);
  uint32_t state = 5;
  while (g_fired < 2000) {
    size_t size = next_random(&state) % 400000;
    errno = 0;
    char* block = malloc(size + 1);
    EXPECT(block != NULL);
    if (errno != 0) g_errno_kept = 0;
    block[size] = 1;
    free(block);
  }
  struct itimerval off = {{0, 0}, {0, 0}};
  EXPECT(setitimer(ITIMER_REAL, &off, NULL) == 0);
}

int main(void) {
  on(SIGUSR1, allocating, 0);
  for (int i = 0; i < 1000; ++i) raise(SIGUSR1);
  say("allocating handler ran %d times", (int)g_fired);
  // On a stack of its own, in the main thread and in the middle of nothing.
  static char stack[64 * 1024];
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
  EXPECT(sigaltstack(&alternate, NULL) == 0);
  on(SIGUSR2, allocating, SA_ONSTACK);
  for (int i = 0; i < 100; ++i) raise(SIGUSR2);
  say("and on its own stack: %d", (int)g_fired);
  storm();
  say("storm over, errno kept %d", (int)g_errno_kept);
  return 0;
}
