// What reading a call stack costs: oomguard_native_stack_cost [FRAMES]. A figure, never a test.
#include <time.h>

#include <cstdio>
#include <cstdlib>

#include "shim/trace/native_stack.h"

namespace {

double now_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

void measure() {
  constexpr int kRounds = 200'000;
  uintptr_t stack[oomguard::trace::kMaxNativeFrames];
  double start = now_ns();
  size_t frames = oomguard::trace::read_native_stack(stack, oomguard::trace::kMaxNativeFrames);
  const double first = now_ns() - start;
  start = now_ns();
  for (int i = 0; i < kRounds; ++i) {
    frames = oomguard::trace::read_native_stack(stack, oomguard::trace::kMaxNativeFrames);
  }
  const double each = (now_ns() - start) / kRounds;
  printf("%zu frames: %.0f ns, %.1f ns a frame; the first time %.0f ns\n", frames, each,
         each / static_cast<double>(frames), first);
}

[[gnu::noinline]] int descend(int depth) {
  if (depth == 0) {
    measure();
    return 0;
  }
  const int below = descend(depth - 1);
  asm volatile("" : : : "memory");
  return below + 1;
}

}  // namespace

int main(int argc, char** argv) {
  oomguard::trace::prepare_native_stacks(oomguard::trace::OwnFrames::kShow);
  return descend(argc > 1 ? atoi(argv[1]) : 26) < 0;
}
