// Leaves signal handlers by siglongjmp, out of loops that call allocation functions. The signal
// comes only between calls (raise), as malloc itself demands; state a guard keeps across a call
// must not be left half-done by it. C code under a hook may also longjmp across frames of callbacks
// (qsort).
#include <setjmp.h>
#include <signal.h>

#include "program.h"

static sigjmp_buf g_back;

static void jump(int signal_number) { siglongjmp(g_back, signal_number); }

static int compare_and_leave(const void* a, const void* b) {
  char* block = malloc(100000);
  EXPECT(block != NULL);
  free(block);
  static int calls;
  if (++calls % 50 == 0) raise(SIGUSR1);
  return *(const int*)a - *(const int*)b;
}

int main(void) {
  signal(SIGUSR1, jump);
  volatile int jumps = 0;
  for (volatile int round = 0; round < 500; ++round) {
    // Large arrays make qsort itself allocate; that block is lost by the jump, bare as guarded.
    int numbers[300];
    uint32_t state = (uint32_t)round;
    for (int i = 0; i < 300; ++i) numbers[i] = (int)next_random(&state);
    if (sigsetjmp(g_back, 1) != 0) {
      ++jumps;
      char* block = malloc(300000);
      EXPECT(block != NULL);
      fill(block, 300000, 1);
      EXPECT(holds(block, 300000, 1));
      free(block);
      continue;
    }
    qsort(numbers, 300, sizeof(int), compare_and_leave);
  }
  say("left %d handlers by a jump", (int)jumps);
  return 0;
}
