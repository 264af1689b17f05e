// The only thread ends by the bare system call, as a seccomp filter that kills threads ends it: the
// process is over then, with that status.
#include <sys/syscall.h>

#include "program.h"

int main(void) {
  free(malloc(3000000));
  usleep(50000);
  syscall(SYS_exit, 3);
  return 0;
}
