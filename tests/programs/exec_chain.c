// Starts this program again through every way there is and says whether liboomguard.so reached the
// child: its word in LD_PRELOAD, and its mapping in the process.
//   exec_chain WAY...      starts itself (or $CHAIN_PROGRAM) by the first way, and so on
// Ways: execve execv execvp execvpe fexecve execveat spawn spawnp system popen, and execl execlp
// execle, which end the chain.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include "program.h"

extern char** environ;

static int is_mapped(const char* name) {
  char line[512];
  FILE* maps = fopen("/proc/self/maps", "r");
  int found = 0;
  while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
    found |= strstr(line, name) != NULL;
  }
  if (maps != NULL) fclose(maps);
  return found;
}

static void report(void) {
  const char* preload = getenv("LD_PRELOAD");
  say("preload %d mapped %d run %d other %s",
      preload != NULL && strstr(preload, "liboomguard.so") != NULL, is_mapped("liboomguard.so"),
      getenv("OOMGUARD_RUN_PROGRAM") != NULL, getenv("CHAIN_OTHER") != NULL ? "kept" : "lost");
}

static int wait_for(pid_t child) {
  int status = 0;
  EXPECT(child > 0 && waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int shell(const char* self, char* const* rest, int through_popen) {
  char command[2048];
  int at = snprintf(command, sizeof(command), "exec '%s'", self);
  for (; *rest != NULL; ++rest) {
    at += snprintf(command + at, sizeof(command) - (size_t)at, " %s", *rest);
  }
  if (!through_popen) return WEXITSTATUS(system(command));
  char line[256];
  FILE* pipe = popen(command, "r");
  EXPECT(pipe != NULL);
  while (fgets(line, sizeof(line), pipe) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    say("%s", line);
  }
  return WEXITSTATUS(pclose(pipe));
}

static void replace(const char* way, const char* self, char** argv) {
  if (strcmp(way, "execve") == 0) execve(self, argv, environ);
  if (strcmp(way, "execv") == 0) execv(self, argv);
  if (strcmp(way, "execvp") == 0) execvp(self, argv);
  if (strcmp(way, "execvpe") == 0) execvpe(self, argv, environ);
  if (strcmp(way, "execl") == 0) execl(self, argv[0], (char*)NULL);
  if (strcmp(way, "execlp") == 0) execlp(self, argv[0], (char*)NULL);
  if (strcmp(way, "execle") == 0) execle(self, argv[0], (char*)NULL, environ);
  int fd = open(self, O_RDONLY);
  if (strcmp(way, "fexecve") == 0) fexecve(fd, argv, environ);
  if (strcmp(way, "execveat") == 0) execveat(fd, "", argv, environ, AT_EMPTY_PATH);
  say("%s: errno %d", way, errno);
  _exit(95);
}

int main(int argc, char** argv) {
  report();
  if (argc < 2) return 0;
  const char* way = argv[1];
  const char* program = getenv("CHAIN_PROGRAM");
  const char* self = program != NULL ? program : "/proc/self/exe";
  char path[1024];
  if (program == NULL) {
    ssize_t length = readlink(self, path, sizeof(path) - 1);
    EXPECT(length > 0);
    path[length] = '\0';
    self = path;
  }
  if (strcmp(way, "system") == 0) return shell(self, argv + 2, 0);
  if (strcmp(way, "popen") == 0) return shell(self, argv + 2, 1);
  argv[1] = (char*)self;  // the rest of the chain, as the child's arguments
  pid_t child = 0;
  if (strcmp(way, "spawn") == 0) {
    EXPECT(posix_spawn(&child, self, NULL, NULL, argv + 1, environ) == 0);
    return wait_for(child);
  }
  if (strcmp(way, "spawnp") == 0) {
    EXPECT(posix_spawnp(&child, self, NULL, NULL, argv + 1, environ) == 0);
    return wait_for(child);
  }
  replace(way, self, argv + 1);
}
