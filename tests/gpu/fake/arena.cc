#include "tests/gpu/fake/arena.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace fake {
namespace {

struct Function {
  const char* symbol;
  void* address;
};

const Function kFunctions[] = {
#define FAKE_CUDA(base, version, symbol) {#symbol, reinterpret_cast<void*>(&symbol)},
#define FAKE_CUDA_PTSZ(base, version, symbol) {#symbol, reinterpret_cast<void*>(&symbol)},
#include "tests/gpu/fake/functions.def"
#undef FAKE_CUDA
#undef FAKE_CUDA_PTSZ
};
constexpr int kCount = static_cast<int>(Id::kCount);

// The real forms, or this is no fake of that driver.
#define FAKE_CUDA(base, version, symbol) \
  static_assert(std::is_same_v<decltype(&symbol), PFN_##base##_v##version>);
#define FAKE_CUDA_PTSZ(base, version, symbol) \
  static_assert(std::is_same_v<decltype(&symbol), PFN_##base##_v##version##_ptsz>);
#include "tests/gpu/fake/functions.def"
#undef FAKE_CUDA
#undef FAKE_CUDA_PTSZ

std::array<std::atomic<uint64_t>, kCount> calls;
struct Plan {
  std::atomic<uint64_t> from{0}, until{0};  // numbers of calls, the first is 1
  std::atomic<int> status{0};
};
std::array<Plan, kCount> plans;
std::array<std::array<std::atomic<uint64_t>, FAKE_CUDA_KINDS>, kCards> kinds;
std::atomic<unsigned> delay_us{0};
std::atomic<int> started_pid{0};

int find(const char* symbol) {
  for (int i = 0; i < kCount; ++i) {
    if (strcmp(kFunctions[i].symbol, symbol) == 0) return i;
  }
  return -1;
}

const char* variable(const char* name) {
  const char* value = getenv(name);
  return value != nullptr ? value : "";
}

void plan_failures() {
  std::stringstream items(variable("FAKE_CUDA_FAIL"));
  std::string item;
  while (std::getline(items, item, ',')) {
    char symbol[64] = "";
    unsigned long from = 0;
    unsigned long count = 0;
    int status = 0;
    if (sscanf(item.c_str(), "%63[^:]:%lu:%lu:%d", symbol, &from, &count, &status) != 4) abort();
    fake_cuda_fail(symbol, from - 1, count, status);
  }
}

bool allowed_before_init(Id id) {
  return id == Id::cuInit || id == Id::cuDriverGetVersion || id == Id::cuGetProcAddress ||
         id == Id::cuGetProcAddress_v2 || id == Id::cuGetErrorName || id == Id::cuGetErrorString;
}

}  // namespace

std::optional<CUresult> enter(Id id) {
  static const bool planned = (plan_failures(), true);
  (void)planned;
  const int i = static_cast<int>(id);
  const uint64_t number = ++calls[i];
  if (number >= plans[i].from && number < plans[i].until) {
    return static_cast<CUresult>(plans[i].status.load());
  }
  if (id == Id::cuInit) {
    int nobody = 0;
    const int pid = getpid();
    started_pid.compare_exchange_strong(nobody, pid);
    if (started_pid != pid) return CUDA_ERROR_NOT_INITIALIZED;
  } else if (!allowed_before_init(id) && started_pid != getpid()) {
    return CUDA_ERROR_NOT_INITIALIZED;
  }
  return std::nullopt;
}

int driver_version() {
  static const int version = *variable("FAKE_CUDA_VERSION") != '\0'
                                 ? atoi(variable("FAKE_CUDA_VERSION")) : CUDA_VERSION;
  return version;
}

uint64_t context_bytes() {
  static const uint64_t bytes = parse_bytes(variable("FAKE_CUDA_CONTEXT"));
  return bytes;
}

const std::vector<int>& visible() {
  static const std::vector<int> shown = [] {
    std::vector<int> found;
    int count = 0;
    while (count < kCards && cards().cards[count].bytes != 0) ++count;
    const char* wanted = getenv("CUDA_VISIBLE_DEVICES");
    if (wanted == nullptr) {
      for (int i = 0; i < count; ++i) found.push_back(i);
      return found;
    }
    std::stringstream items(wanted);
    std::string item;
    while (std::getline(items, item, ',')) {
      int card = -1;
      if (item.rfind("MIG-", 0) == 0) item.erase(0, 4);
      for (int i = 0; i < count; ++i) {
        if (card_uuid(i).rfind(item, 0) == 0 || item.rfind(card_uuid(i), 0) == 0) card = i;
      }
      if (card < 0 && !item.empty() && item.find_first_not_of("0123456789") == item.npos) {
        card = atoi(item.c_str());
      }
      if (card < 0 || card >= count) break;  // a name that is none ends the list
      found.push_back(card);
    }
    return found;
  }();
  return shown;
}

bool ordinal_ok(CUdevice device) {
  return device >= 0 && device < static_cast<int>(visible().size());
}

bool take(CUdevice device, fake_cuda_kind kind, uint64_t bytes) {
  const int number = visible().at(device);
  Card& card = cards().cards[number];
  if (kind != FAKE_CUDA_MANAGED) {
    bool reaped = false;
    uint64_t held = card.held;
    do {
      if (bytes > card.bytes - std::min<uint64_t>(held, card.bytes)) {
        if (reaped) return false;
        reap();
        reaped = true;
        held = card.held;
      }
    } while (bytes > card.bytes - std::min<uint64_t>(held, card.bytes) ||
             !card.held.compare_exchange_weak(held, held + bytes));
    Process* own = own_process();
    if (own != nullptr) own->bytes[number] += bytes;
    if (kind != FAKE_CUDA_CONTEXT) {
      if (own != nullptr) own->asked[number] += bytes;
      const uint64_t asked = card.asked += bytes;
      uint64_t peak = card.peak;
      while (asked > peak && !card.peak.compare_exchange_weak(peak, asked)) {
      }
    }
  }
  kinds[number][kind] += bytes;
  wait_as_told();
  return true;
}

void give(CUdevice device, fake_cuda_kind kind, uint64_t bytes) {
  const int number = visible().at(device);
  Card& card = cards().cards[number];
  kinds[number][kind] -= bytes;
  if (kind == FAKE_CUDA_MANAGED) return;
  Process* own = own_process();
  if (own != nullptr) own->bytes[number] -= bytes;
  card.held -= bytes;
  if (kind == FAKE_CUDA_CONTEXT) return;
  if (own != nullptr) own->asked[number] -= bytes;
  card.asked -= bytes;
}

void wait_as_told() {
  if (const unsigned us = delay_us; us != 0) usleep(us);
}

World& world() {
  static World* const all = new World;  // never destroyed: threads may still call at exit
  return *all;
}

CUdeviceptr make_address(uint64_t bytes, bool low) {
  World& w = world();
  if (!low) {
    if (auto& old = w.free_addresses[bytes]; !old.empty()) {
      const CUdeviceptr address = old.back();
      old.pop_back();
      return address;
    }
  }
  CUdeviceptr& next = low ? w.next_low_address : w.next_address;
  const CUdeviceptr address = next;
  next += round_up(bytes + 1, kVmmGranularity);
  return address;
}

void drop_address(CUdeviceptr address, uint64_t bytes) {
  if (address >> 32 != 0) world().free_addresses[bytes].push_back(address);
}

void stale(const char* what) {
  fprintf(stderr, "fake driver: %s is used after its end\n", what);
  abort();
}

void* map_host(uint64_t bytes) {
  const long place = syscall(SYS_mmap, nullptr, bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return place == -1 ? nullptr : reinterpret_cast<void*>(place);
}

void unmap_host(void* pointer, uint64_t bytes) { syscall(SYS_munmap, pointer, bytes); }

}  // namespace fake

extern "C" {

uint64_t fake_cuda_held(int card, int kind) {
  if (kind >= 0) return fake::kinds[card][kind];
  uint64_t sum = 0;
  for (int i = 0; i < FAKE_CUDA_KINDS; ++i) {
    if (i != FAKE_CUDA_MANAGED) sum += fake::kinds[card][i];
  }
  return sum;
}

uint64_t fake_cuda_peak(int card) { return fake::cards().cards[card].peak; }

uint64_t fake_cuda_calls(const char* symbol) {
  const int i = fake::find(symbol);
  return i < 0 ? 0 : fake::calls[i].load();
}

void fake_cuda_fail(const char* symbol, uint64_t skip, uint64_t count, int status) {
  const int i = fake::find(symbol);
  if (i < 0) abort();
  fake::plans[i].status = status;
  fake::plans[i].from = fake::calls[i] + skip + 1;
  fake::plans[i].until = fake::plans[i].from + count;
}

void fake_cuda_delay(unsigned microseconds) { fake::delay_us = microseconds; }

void* fake_cuda_address(const char* symbol) {
  const int i = fake::find(symbol);
  return i < 0 ? nullptr : fake::kFunctions[i].address;
}

}  // extern "C"
