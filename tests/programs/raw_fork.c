// Children made behind libc's back run no fork handlers: _Fork, and the bare system call. Each goes
// on with fork, setuid, allocations and a normal exit, and must not wait for a thread that stayed
// behind in its parent.
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "program.h"

static int status_of(pid_t child) {
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void in_child(void) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (size_t size = 1000; size <= 8000000; size *= 20) free(malloc(size));
  EXPECT(setuid(getuid()) == 0);
  pid_t grandchild = fork();
  EXPECT(grandchild >= 0);
  if (grandchild == 0) exit(4);
  int status = status_of(grandchild);
  usleep(40000);
  for (size_t size = 1000; size <= 8000000; size *= 20) free(malloc(size));
  exit(status + 1);
}

int main(void) {
  for (int round = 0; round < 3; ++round) {
    void* block = malloc(3000000);
    EXPECT(block != NULL);
    pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    EXPECT(child >= 0);
    if (child == 0) in_child();
    say("the system call: %d", status_of(child));
#if __GLIBC_PREREQ(2, 34)
    child = _Fork();
    EXPECT(child >= 0);
    if (child == 0) in_child();
    say("_Fork: %d", status_of(child));
#endif
    free(block);
    usleep(30000);
  }
  return 0;
}
