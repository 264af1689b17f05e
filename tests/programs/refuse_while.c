// Refusals while other things happen in the process: `refuse_while CASE`. Each asks a thousand times or
// more for far more than its memory group has. Bare, the first answer is filled and ends the process;
// guarded, all are refused, and what happens beside them goes on undisturbed.
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "program.h"

#define FAR_TOO_MUCH ((size_t)2 << 30)

static volatile sig_atomic_t g_fired;

static void counting(int signal_number) {
  (void)signal_number;
  ++g_fired;
}

// One request in each way to ask, each refused with ENOMEM.
static void be_refused(void) {
  errno = 0;
  char* block = malloc(FAR_TOO_MUCH);
  if (block != NULL) memset(block, 1, FAR_TOO_MUCH);
  EXPECT(block == NULL && errno == ENOMEM);
  errno = 0;
  EXPECT(calloc(2, FAR_TOO_MUCH / 2) == NULL && errno == ENOMEM);
  char* small = malloc(100);
  EXPECT(small != NULL);
  fill(small, 100, 3);
  errno = 0;
  EXPECT(realloc(small, FAR_TOO_MUCH) == NULL && errno == ENOMEM);
  EXPECT(holds(small, 100, 3));  // a refused realloc leaves the block alone
  free(small);
  void* const before = &(char){0};
  void* aligned = before;
  errno = 7;
  EXPECT(posix_memalign(&aligned, 4096, FAR_TOO_MUCH) == ENOMEM);
  EXPECT(errno == 7 && aligned == before);
}

static void repeat(int times) {
  for (int i = 0; i < times; ++i) be_refused();
}

static void set_timer(int signal_number, int flags, long us) {
  struct sigaction action = {0};
  action.sa_handler = counting;
  action.sa_flags = flags;
  EXPECT(sigaction(signal_number, &action, NULL) == 0);
  struct itimerval often = {{0, us}, {0, us}};
  EXPECT(setitimer(ITIMER_REAL, &often, NULL) == 0);
}

static void signals(void) {
  set_timer(SIGALRM, SA_RESTART, 200);
  while (g_fired < 500) be_refused();
  set_timer(SIGALRM, SA_RESTART, 0);
}

// Without SA_RESTART a system call of the program is interrupted, and of oomguard none may be.
static void interrupted_calls(void) {
  int ends[2];
  char byte;
  EXPECT(pipe(ends) == 0);
  set_timer(SIGALRM, 0, 1000);
  for (int i = 0; i < 100; ++i) {
    be_refused();
    EXPECT(read(ends[0], &byte, 1) == -1 && errno == EINTR);
  }
  set_timer(SIGALRM, 0, 0);
}

static void* refused_often(void* times) {
  repeat((int)(intptr_t)times);
  return NULL;
}

static void in_threads(int threads, int times, void (*beside)(void)) {
  static pthread_t ids[1000];
  pthread_attr_t attributes;
  EXPECT(pthread_attr_init(&attributes) == 0);
  EXPECT(pthread_attr_setstacksize(&attributes, 64 * 1024) == 0);
  for (int i = 0; i < threads; ++i) {
    EXPECT(pthread_create(&ids[i], &attributes, refused_often, (void*)(intptr_t)times) == 0);
  }
  if (beside != NULL) beside();
  for (int i = 0; i < threads; ++i) EXPECT(pthread_join(ids[i], NULL) == 0);
}

static void thousand_threads(void) { in_threads(1000, 2, NULL); }

static void exiting_threads(void) {
  for (int round = 0; round < 100; ++round) in_threads(8, 1, NULL);
}

static void open_libraries(void) {
  for (int i = 0; i < 200; ++i) {
    void* library = dlopen("libm.so.6", RTLD_NOW);
    EXPECT(library != NULL && dlsym(library, "cos") != NULL);
    EXPECT(dlclose(library) == 0);
  }
}
static void libraries(void) { in_threads(4, 300, open_libraries); }

static void make_children(void) {
  for (int i = 0; i < 100; ++i) {
    const pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
      void* small = malloc(1 << 20);
      EXPECT(small != NULL);
      fill(small, 1 << 20, 1);
      be_refused();
      _exit(0);
    }
    int status;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
  }
}
static void forks(void) { in_threads(4, 300, make_children); }

static const struct {
  const char* name;
  void (*run)(void);
} kCases[] = {{"signals", signals},           {"interrupted_calls", interrupted_calls},
              {"thousand_threads", thousand_threads}, {"exiting_threads", exiting_threads},
              {"libraries", libraries},       {"forks", forks}};

int main(int count, char** words) {
  for (size_t i = 0; count == 2 && i < sizeof kCases / sizeof kCases[0]; ++i) {
    if (strcmp(words[1], kCases[i].name) != 0) continue;
    kCases[i].run();
    say("%s: all refused", words[1]);
    return 0;
  }
  return 2;
}
