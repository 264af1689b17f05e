// storm SEED BUDGET: a random program. Sixteen threads take memory of two cards in every way there
// is, give back what they or others took, and are refused by the guard, by the card and, on
// command, by the driver. From time to time all wait, and what the guard says is taken of a card
// (its view: BUDGET less what is free) is compared with what the card holds. BUDGET is in MiB and
// holds for each card. The status is 0 if all agreed and no card ever held more than the budget;
// in a third of the programs graphs are launched, too, which the driver gives memory unasked.
#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <random>
#include <thread>

#include "tests/gpu/fake/fake_cuda.h"
#include "tests/gpu/routes/families.h"

namespace {

using namespace routes;

constexpr int kThreads = 16;
constexpr int kRounds = 4;
constexpr int kSteps = 24;
constexpr int kDevices = 2;
constexpr uint64_t kMiB = 1 << 20;

struct Held {
  const Family* family;
  int device;
  Taken taken;
};

Api api;
uint64_t budget;
bool with_graphs;
std::array<CUcontext, kDevices> contexts;
std::atomic<int> faults, taken_count, refused_count;
std::mutex bag_mutex;
std::vector<Held> bag;  // what all threads hold

void complain(const char* what, const char* name, unsigned long long is,
              unsigned long long should) {
  if (faults++ < 5) printf("%s %s: %llu, not %llu\n", what, name, is, should);
}

void use(int device) { CALL(api, cuCtxSetCurrent)(contexts[device]); }

void drop(Held held) {
  use(held.device);
  const CUresult status = held.family->drop(api, &held.taken);
  if (status != CUDA_SUCCESS) complain("drop", held.family->name, status, 0);
}

void step(std::mt19937_64& random) {
  if (random() % 5 < 2) {
    std::unique_lock lock(bag_mutex);
    if (bag.empty()) return;
    std::swap(bag[random() % bag.size()], bag.back());
    const Held held = bag.back();
    bag.pop_back();
    lock.unlock();
    drop(held);
    return;
  }
  Held held = {&families()[random() % families().size()], 0, {}};
  held.device = static_cast<int>(random() % kDevices);
  // What the families put onto a card themselves goes onto the first one.
  const std::string name = held.family->name;
  if (!with_graphs && (name == "graph" || name == "captured")) return;
  if (name == "pool" || name == "pool-ptsz" || name == "handle" || name == "mapped" ||
      name == "graph") {
    held.device = 0;
  }
  const uint64_t unit = held.family->granularity;
  // Host memory is the host gate's, with limits of its own.
  const uint64_t largest = !held.family->on_card    ? 4 * kMiB
                           : random() % 8 == 0 ? budget / 2
                                                : budget / 32;
  const uint64_t bytes = unit * (1 + random() % (largest / unit));
  use(held.device);
  if (random() % 16 == 0) {
    const int status = random() % 2 == 0 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_UNKNOWN;
    FAKE(api, fake_cuda_fail)(kForms[static_cast<int>(held.family->decides)].symbol, 0, 1, status);
  }
  const CUresult status = held.family->take(api, bytes, &held.taken);
  if (status == CUDA_SUCCESS) {
    ++taken_count;
    const std::lock_guard lock(bag_mutex);
    bag.push_back(held);
  } else if (status == CUDA_ERROR_OUT_OF_MEMORY || status == CUDA_ERROR_UNKNOWN) {
    ++refused_count;
  } else {
    complain("take", held.family->name, status, 0);
  }
}

// Nobody else calls the driver meanwhile.
void compare(const char* when) {
  for (int device = 0; device < kDevices; ++device) {
    use(device);
    CALL(api, cuStreamSynchronize)(nullptr);
    CALL(api, cuDeviceGraphMemTrim)(device);
    // What a pool gave back while a stream was waited for is read when it is trimmed.
    CUmemoryPool pool = nullptr;
    CALL(api, cuDeviceGetDefaultMemPool)(&pool, device);
    CALL(api, cuMemPoolTrimTo)(pool, 0);
    size_t free = 0, total = 0;
    CALL(api, cuMemGetInfo_v2)(&free, &total);
    if (total != budget) complain(when, "total", total, budget);
    const uint64_t held = std::min(FAKE(api, fake_cuda_held)(device, -1), budget);
    if (budget - free != held) complain(when, "ledger", budget - free, held);
    const uint64_t peak = FAKE(api, fake_cuda_peak)(device);
    if (peak > budget && !with_graphs) complain(when, "peak", peak, budget);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const uint64_t seed = strtoull(argv[1], nullptr, 10);
  budget = strtoull(argv[2], nullptr, 10) * kMiB;
  const char* const ways[] = {"dlsym", "lookup1", "lookup2", "lookup1-by-lookup2"};
  with_graphs = seed / 4 % 3 == 2;
  api = take_route(ways[seed % 4]);
  CALL(api, cuInit)(0);
  for (int i = 0; i < kDevices; ++i) CALL(api, cuDevicePrimaryCtxRetain)(&contexts[i], i);
  FAKE(api, fake_cuda_delay)(seed % 3 * 20);

  std::barrier all(kThreads, []() noexcept { compare("meanwhile"); });
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      std::mt19937_64 random(seed * kThreads + i);
      for (int round = 0; round < kRounds; ++round) {
        for (int n = 0; n < kSteps; ++n) step(random);
        all.arrive_and_wait();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Held& held : bag) drop(held);
  compare("at the end");
  for (int i = 0; i < kDevices; ++i) {
    const auto of = FAKE(api, fake_cuda_held);
    const uint64_t left = of(i, -1) - of(i, FAKE_CUDA_POOL);
    if (left != 0) complain("at the end", "held", left, 0);
  }
  printf("taken %d refused %d peak %llu %llu of %llu\n", taken_count.load(), refused_count.load(),
         static_cast<unsigned long long>(FAKE(api, fake_cuda_peak)(0)),
         static_cast<unsigned long long>(FAKE(api, fake_cuda_peak)(1)),
         static_cast<unsigned long long>(budget));
  return faults == 0 ? 0 : 1;
}
