// A signal handler that forks, 60 times, while the program allocates: fork may not wait for what it
// has interrupted. The signals come as long after each other as it takes until whatever stopped for
// the last fork has started again.
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "program.h"

static volatile sig_atomic_t g_forks;
static volatile sig_atomic_t g_right;

static void on_alarm(int signal_number) {
  (void)signal_number;
  pid_t child = fork();
  if (child == 0) _exit(5);
  int status = 0;
  g_right += child > 0 && waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 5;
  ++g_forks;
}

int main(void) {
  struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
  EXPECT(sigaction(SIGALRM, &action, NULL) == 0);
  struct itimerval often = {{0, 21300}, {0, 21300}};
  EXPECT(setitimer(ITIMER_REAL, &often, NULL) == 0);
  // Mappings only: fork waits for the heap's lock, which the interrupted code may hold.
  while (g_forks < 60) {
    void* block = malloc(2000000);
    EXPECT(block != NULL);
    free(block);
  }
  struct itimerval never = {{0, 0}, {0, 0}};
  EXPECT(setitimer(ITIMER_REAL, &never, NULL) == 0);
  say("%d children ended as they should", g_right < 60 ? g_right : 60);
  return 0;
}
