// A program that never makes a thread through libc, for raw_thread_test: what the raw thread must
// not change is only visible in such a process. `single_threaded STEP`; exit status 0: as it should
// be, else the line that found it otherwise.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include "shim/budget/raw_thread.h"

namespace {

using oomguard::budget::RawThread;

constinit RawThread g_thread;
constinit std::atomic<int> g_rounds{0};

void body() {
  while (!g_thread.stopping()) {
    g_rounds.fetch_add(1);
    g_thread.sleep(1'000'000);
  }
}

// A step's check: the line number is the exit status, never 0.
void require(bool holds, int line) {
  if (!holds) _exit(line % 250 + 1);
}
#define REQUIRE(condition) require(condition, __LINE__)

int tasks() {
  DIR* folder = opendir("/proc/self/task");
  int count = 0;
  while (const dirent* entry = readdir(folder)) count += entry->d_name[0] != '.';
  closedir(folder);
  return count;
}

void start_and_wait() {
  const int before = g_rounds;
  REQUIRE(g_thread.start(body));
  while (g_rounds == before) usleep(100);
}

void stays_single() {
  REQUIRE(__libc_single_threaded);
  for (int i = 0; i < 20; ++i) {
    start_and_wait();
    REQUIRE(__libc_single_threaded);
    REQUIRE(tasks() == 2);
    free(malloc(100'000));
    g_thread.stop();
    REQUIRE(tasks() == 1);
  }
  REQUIRE(__libc_single_threaded);
}

// What CPython does around its fork: the handlers stop the thread, the count is read afterwards.
void forks_while_stopped() {
  start_and_wait();
  for (int i = 0; i < 20; ++i) {
    g_thread.stop();
    const pid_t child = fork();
    if (child == 0) {
      g_thread.forget();
      REQUIRE(tasks() == 1);
      REQUIRE(__libc_single_threaded);
      start_and_wait();
      REQUIRE(tasks() == 2);
      g_thread.stop();
      _exit(0);
    }
    REQUIRE(tasks() == 1);
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
    start_and_wait();
  }
  g_thread.stop();
}

// Neither waitpid nor exit knows it.
void is_nobodys_child() {
  start_and_wait();
  REQUIRE(waitpid(-1, nullptr, WNOHANG) == -1);
}

void execs(const char* self) {
  start_and_wait();
  execl(self, self, "count-tasks", nullptr);
  REQUIRE(false);
}

}  // namespace

int main(int argc, char** argv) {
  const char* step = argc > 1 ? argv[1] : "";
  if (strcmp(step, "stays-single") == 0) {
    stays_single();
  } else if (strcmp(step, "forks-while-stopped") == 0) {
    forks_while_stopped();
  } else if (strcmp(step, "is-nobodys-child") == 0) {
    is_nobodys_child();
  } else if (strcmp(step, "execs") == 0) {
    execs(argv[0]);
  } else if (strcmp(step, "count-tasks") == 0) {
    REQUIRE(tasks() == 1);
  } else {
    fprintf(stderr, "unknown step: %s\n", step);
    return 255;
  }
  return 0;
}
