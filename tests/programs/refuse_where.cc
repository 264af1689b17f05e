// Refusals in odd places: `refuse_where CASE`. Bare, the first request is filled and ends the process.
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

#include <new>
#include <vector>

#include "program.h"

namespace {

constexpr size_t kFarTooMuch = size_t{2} << 30;

bool refused() {
  errno = 0;
  void* block = malloc(kFarTooMuch);
  if (block == nullptr) return errno == ENOMEM;
  memset(block, 1, kFarTooMuch);
  free(block);
  return false;
}

void handle(int number, void (*handler)(int), int flags) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  EXPECT(sigaction(number, &action, nullptr) == 0);
}

// In a handler that came while nothing was being allocated, also on a stack of its own.
void in_handler() {
  static char stack[64 * 1024];
  stack_t alternate = {};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof stack;
  EXPECT(sigaltstack(&alternate, nullptr) == 0);
  handle(SIGUSR1, [](int) { EXPECT(refused()); }, SA_ONSTACK);
  for (int i = 0; i < 500; ++i) {
    EXPECT(refused());
    EXPECT(raise(SIGUSR1) == 0);
  }
}

sigjmp_buf g_out;

// Out of a handler, with the refusal as the reason: nothing of it may stay behind.
void with_longjmp() {
  handle(SIGUSR1, [](int) { if (refused()) siglongjmp(g_out, 1); }, 0);
  static int left;
  for (left = 500; left > 0; --left) {
    if (sigsetjmp(g_out, 1) == 0) raise(SIGUSR1);
    void* small = malloc(1 << 20);
    EXPECT(small != nullptr);
    memset(small, 1, 1 << 20);
    free(small);
  }
}

void at_exit() {
  EXPECT(atexit([] { say("at exit: refused %d", refused()); }) == 0);
}

struct RefusedAtEnd {
  bool used = false;
  ~RefusedAtEnd() {
    for (int i = 0; i < 10; ++i) EXPECT(refused());
  }
};
thread_local RefusedAtEnd t_at_end;

void in_destructors() {
  pthread_key_t key;
  EXPECT(pthread_key_create(&key, [](void*) { EXPECT(refused()); }) == 0);
  static pthread_key_t made;
  made = key;
  for (int i = 0; i < 50; ++i) {
    pthread_t thread;
    EXPECT(pthread_create(&thread, nullptr, [](void*) -> void* {
             t_at_end.used = true;
             pthread_setspecific(made, &made);
             return nullptr;
           }, nullptr) == 0);
    EXPECT(pthread_join(thread, nullptr) == 0);
  }
}

// C++: new throws, and everything that was built is torn down on the way.
void by_new() {
  for (int i = 0; i < 500; ++i) {
    std::vector<char> kept(1 << 20, 'x');
    bool thrown = false;
    try {
      std::vector<char> all(kFarTooMuch, 'y');
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
    EXPECT(thrown && kept.back() == 'x');
  }
}

struct {
  const char* name;
  void (*run)();
} constexpr kCases[] = {{"in_handler", in_handler},
                        {"with_longjmp", with_longjmp},
                        {"at_exit", at_exit},
                        {"in_destructors", in_destructors},
                        {"by_new", by_new}};

}  // namespace

int main(int count, char** words) {
  for (const auto& one : kCases) {
    if (count != 2 || strcmp(words[1], one.name) != 0) continue;
    one.run();
    say("%s: all refused", words[1]);
    return 0;
  }
  return 2;
}
