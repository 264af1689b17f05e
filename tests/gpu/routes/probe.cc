// probe ROUTE WHAT: comes to the driver's functions by a route and prints what happens, a line a
// step. Bare and guarded the lines have to be the same, but for `addresses`, which tells whose
// function each is, and `budget`, where the guard has to refuse.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "tests/gpu/fake/fake_cuda.h"
#include "tests/gpu/routes/families.h"

namespace routes {
namespace {

constexpr size_t kMiB = 1 << 20;
CUcontext context = nullptr;

void start(const Api& api) {
  const CUresult status = CALL(api, cuInit)(0);
  printf("init %d\n", status);
  if (status != CUDA_SUCCESS) return;
  printf("retain %d\n", CALL(api, cuDevicePrimaryCtxRetain)(&context, 0));
  CALL(api, cuCtxSetCurrent)(context);
}

unsigned long long held(const Api& api) {
  const auto of = FAKE(api, fake_cuda_held);
  return of(0, -1) + of(0, FAKE_CUDA_MANAGED) + FAKE(api, fake_cuda_host)(0) +
         FAKE(api, fake_cuda_host)(1);
}

void say(const Api& api, const Family& family, const char* step, CUresult status) {
  printf("%s %s %d held %llu\n", family.name, step, status, held(api));
}

// What works, what the driver refuses, what it answers to nonsense.
void cases(const Api& api, const Family& family) {
  const char* const decides = kForms[static_cast<int>(family.decides)].symbol;
  Taken taken;
  say(api, family, "take", family.take(api, 8 * kMiB, &taken));
  Taken second;
  say(api, family, "take-second", family.take(api, 6 * kMiB, &second));
  say(api, family, "drop", family.drop(api, &taken));
  say(api, family, "drop-second", family.drop(api, &second));
  for (const int status : {CUDA_ERROR_OUT_OF_MEMORY, CUDA_ERROR_UNKNOWN}) {
    FAKE(api, fake_cuda_fail)(decides, 0, 1, status);
    say(api, family, "driver-fails", family.take(api, 8 * kMiB, &taken));
    say(api, family, "again", family.take(api, 8 * kMiB, &taken));
    say(api, family, "drop", family.drop(api, &taken));
  }
  say(api, family, "zero", family.take(api, 0, &taken));
  if (family.on_card) say(api, family, "too-large", family.take(api, size_t{1} << 40, &taken));
  if (family.null_is_answered) {
    say(api, family, "null", family.take(api, 8 * kMiB, nullptr));
    say(api, family, "take", family.take(api, 8 * kMiB, &taken));
    say(api, family, "drop", family.drop(api, &taken));
    say(api, family, "drop-twice", family.drop(api, &taken));
  }
  CALL(api, cuCtxSetCurrent)(nullptr);
  const CUresult status = family.take(api, 8 * kMiB, &taken);
  say(api, family, "without-context", status);
  CALL(api, cuCtxSetCurrent)(context);
  if (status == CUDA_SUCCESS) family.drop(api, &taken);
}

void all_cases(const Api& api) {
  start(api);
  for (const Family& family : families()) cases(api, family);
  Taken nothing;
  printf("free-null %d\n", CALL(api, cuMemFree_v2)(0));
  nothing.a = 0x123400;
  printf("free-unknown %d\n", CALL(api, cuMemFree_v2)(nothing.a));
  printf("free-host-unknown %d\n", CALL(api, cuMemFreeHost)(&nothing));
  printf("unregister-unknown %d\n", CALL(api, cuMemHostUnregister)(&nothing));
  size_t free = 0, total = 0;
  printf("info %d\n", CALL(api, cuMemGetInfo_v2)(&free, &total));
  printf("info-null %d\n", CALL(api, cuMemGetInfo_v2)(nullptr, nullptr));
  // Everything goes with the context.
  Taken left[3];
  families()[0].take(api, 8 * kMiB, &left[0]);
  families()[1].take(api, 8 * kMiB, &left[1]);
  families()[6].take(api, 8 * kMiB, &left[2]);
  const CUresult status = CALL(api, cuDevicePrimaryCtxReset_v2)(0);
  printf("reset %d held %llu\n", status, held(api));
}

// Twice 600 MiB where 1 GiB is the budget; what is freed may be taken again.
void over_budget(const Api& api) {
  start(api);
  for (const Family& family : families()) {
    if (!family.on_card) continue;
    Taken first, second;
    say(api, family, "first", family.take(api, 600 * kMiB, &first));
    const CUresult status = family.take(api, 600 * kMiB, &second);
    say(api, family, "second", status);
    say(api, family, "drop", family.drop(api, &first));
    if (status == CUDA_SUCCESS) family.drop(api, &second);
    say(api, family, "again", family.take(api, 600 * kMiB, &second));
    family.drop(api, &second);
  }
}

void in_threads(const Api& api) {
  start(api);
  std::atomic<int> failed = 0;
  std::thread threads[8];
  for (std::thread& thread : threads) {
    thread = std::thread([&] {
      CALL(api, cuCtxSetCurrent)(context);
      for (int i = 0; i < 20; ++i) {
        for (const Family& family : families()) {
          Taken taken;
          const CUresult status = family.take(api, 2 * kMiB, &taken);
          // Where pools of the card share what they reserve, another thread's wait trims it.
          failed += status != CUDA_SUCCESS || family.drop(api, &taken) != CUDA_SUCCESS;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CALL(api, cuStreamSynchronize)(nullptr);
  CALL(api, cuDeviceGraphMemTrim)(0);
  printf("threads failed %d held %llu\n", failed.load(), held(api));
}

int wait_for(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

// A child may use the driver only where its parent had not started it.
void after_fork(const Api& api) {
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    all_cases(api);
    exit(0);
  }
  printf("child before init %d\n", wait_for(child));
  start(api);
  Taken mine;
  families()[0].take(api, 8 * kMiB, &mine);
  fflush(stdout);
  child = fork();
  if (child == 0) {
    for (const Family& family : families()) {
      Taken taken;
      if (strcmp(family.name, "captured") == 0 || strcmp(family.name, "graph") == 0) continue;
      printf("child %s %d\n", family.name, family.take(api, 8 * kMiB, &taken));
    }
    printf("child free %d\n", families()[0].drop(api, &mine));
    exit(0);
  }
  printf("child after init %d\n", wait_for(child));
  const CUresult status = families()[0].drop(api, &mine);
  printf("parent free %d held %llu\n", status, held(api));
}

// own: the driver's; or the file that the function is in.
void addresses(const Api& api) {
  for (int i = 0; i < kCount; ++i) {
    const char* symbol = kForms[i].symbol;
    Dl_info info = {};
    const char* whose = "nowhere";
    if (api.at[i] == FAKE(api, fake_cuda_address)(symbol)) {
      whose = "own";
    } else if (api.at[i] != nullptr && dladdr(api.at[i], &info) != 0) {
      whose = strrchr(info.dli_fname, '/') != nullptr ? strrchr(info.dli_fname, '/') + 1
                                                      : info.dli_fname;
    }
    printf("%s %s\n", symbol, whose);
  }
}

}  // namespace
}  // namespace routes

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const routes::Api api = routes::take_route(argv[1]);
  const std::string what = argv[2];
  if (what == "cases") routes::all_cases(api);
  if (what == "budget") routes::over_budget(api);
  if (what == "threads") routes::in_threads(api);
  if (what == "fork") routes::after_fork(api);
  if (what == "addresses") routes::addresses(api);
}
