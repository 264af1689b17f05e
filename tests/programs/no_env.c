// exec and posix_spawn with an empty environment, and with none at all (a null pointer, which Linux
// takes as empty), with clearenv and with an environ that the program set to NULL.
#include <spawn.h>
#include <sys/wait.h>

#include "program.h"

extern char** environ;

static int run(int form, char* const env[]) {
  char* const argv[] = {(char*)"sh", (char*)"-c", (char*)"exit 5", NULL};
  pid_t child = 0;
  if (form == 2) {
    EXPECT(posix_spawn(&child, "/bin/sh", NULL, NULL, argv, env) == 0);
  } else if ((child = fork()) == 0) {
    if (form == 0) execve("/bin/sh", argv, env);
    if (form == 1) execvpe("sh", argv, env);
    if (form == 3) execvp("sh", argv);
    _exit(95);
  }
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(void) {
  char* const empty[] = {NULL};
  char* volatile no_array = NULL;
  for (int form = 0; form < 3; ++form) {
    say("empty %d, null %d", run(form, empty), run(form, (char* const*)no_array));
  }
  EXPECT(clearenv() == 0);
  say("after clearenv %d", run(3, NULL));
  environ = NULL;
  say("environ null %d", run(3, NULL));
  free(malloc(8 << 20));
  return 0;
}
