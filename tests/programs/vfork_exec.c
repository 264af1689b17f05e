// vfork, then every member of the exec family in the child, which shares this process's memory: the
// parent's environment, errno of failed calls, descriptors and heap must be as before. Also with an
// environment of 10,000 variables, and from a thread with the smallest stack.
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sys/wait.h>

#include "program.h"

extern char** environ;

enum Form { kExecve, kExecv, kExecvp, kExecvpe, kExecl, kExeclp, kExecle, kFexecve, kForms };
static const char* const kNames[] = {"execve", "execv",  "execvp", "execvpe",
                                     "execl",  "execlp", "execle", "fexecve"};

// 0: the child ran and ended with status 0; else its status, or the errno of the call.
static int start(enum Form form, const char* path, const char* name, char* const env[], int fd) {
  char* const argv[] = {(char*)name, (char*)"-c", (char*)"exit 0", NULL};
  volatile int error = 0;
  pid_t child = vfork();
  if (child == 0) {
    switch (form) {
      case kExecve:
        execve(path, argv, env);
        break;
      case kExecv:
        execv(path, argv);
        break;
      case kExecvp:
        execvp(name, argv);
        break;
      case kExecvpe:
        execvpe(name, argv, env);
        break;
      case kExecl:
        execl(path, name, "-c", "exit 0", (char*)NULL);
        break;
      case kExeclp:
        execlp(name, name, "-c", "exit 0", (char*)NULL);
        break;
      case kExecle:
        execle(path, name, "-c", "exit 0", (char*)NULL, env);
        break;
      default:
        fexecve(fd, argv, env);
        break;
    }
    error = errno;
    _exit(96);
  }
  EXPECT(child > 0);
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child);
  if (error != 0) return error;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void run_all(const char* label, char* const env[]) {
  int fd = open("/bin/sh", O_RDONLY);
  EXPECT(fd >= 0);
  for (int form = 0; form < kForms; ++form) {
    int good = 0;
    for (int i = 0; i < 5; ++i) good += start((enum Form)form, "/bin/sh", "sh", env, fd) == 0;
    int missing = start((enum Form)form, "/nonexistent/sh", "no-such-program", env, -1);
    say("%s %s: %d of 5, missing program errno %d", label, kNames[form], good, missing);
  }
  EXPECT(close(fd) == 0);
}

static void* in_thread(void* env) {
  run_all("small stack", (char* const*)env);
  return NULL;
}

int main(void) {
  char** const before = environ;
  char* const first = environ[0];
  run_all("plain", environ);
  size_t count = 0;
  while (environ[count] != NULL) ++count;
  char** large = calloc(count + 10001, sizeof(char*));
  char* texts = malloc(10000 * 16);
  EXPECT(large != NULL && texts != NULL);
  memcpy(large, environ, count * sizeof(char*));
  for (size_t i = 0; i < 10000; ++i) {
    snprintf(texts + i * 16, 16, "V%zu=x", i);
    large[count + i] = texts + i * 16;
  }
  run_all("10,000 variables", large);
  pthread_attr_t attributes;
  pthread_t thread;
  EXPECT(pthread_attr_init(&attributes) == 0);
  // The least that the system allows, and a page for this program's own frames.
  EXPECT(pthread_attr_setstacksize(&attributes, (size_t)sysconf(_SC_THREAD_STACK_MIN) + 4096) == 0);
  EXPECT(pthread_create(&thread, &attributes, in_thread, large) == 0);
  EXPECT(pthread_join(thread, NULL) == 0);
  say("environment untouched %d", environ == before && environ[0] == first);
  return 0;
}
