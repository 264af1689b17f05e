#include "tests/gpu/fake/shared_cards.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <sched.h>
#include <sstream>
#include <sys/mman.h>
#include <unistd.h>

namespace fake {
namespace {

std::string variable(const char* name, const char* otherwise) {
  const char* value = getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

Cards* map_cards() {
  void* place = MAP_FAILED;
  if (const std::string file = variable("FAKE_CUDA_STATE", ""); !file.empty()) {
    const int fd = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(Cards)) != 0) abort();
    place = mmap(nullptr, sizeof(Cards), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
  } else {
    place = mmap(nullptr, sizeof(Cards), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  }
  if (place == MAP_FAILED) abort();
  return static_cast<Cards*>(place);
}

void fill(Cards& all) {
  std::stringstream sizes(variable("FAKE_CUDA_DEVICES", "80G"));
  std::string item;
  for (int i = 0; i < kCards && std::getline(sizes, item, ','); ++i) {
    all.cards[i].bytes = parse_bytes(item);
  }
  std::stringstream others(variable("FAKE_CUDA_OTHERS", ""));
  for (int i = 0; i < kProcesses && std::getline(others, item, ','); ++i) {
    int card = 0;
    int pid = 0;
    char bytes[32] = "";
    if (sscanf(item.c_str(), "%d:%d:%31s", &card, &pid, bytes) != 3 || card >= kCards) abort();
    all.processes[i].pid = pid;
    all.processes[i].scripted = true;
    all.processes[i].bytes[card] = parse_bytes(bytes);
    all.cards[card].held += parse_bytes(bytes);
  }
}

void empty(Process& process) {
  for (int i = 0; i < kCards; ++i) {
    cards().cards[i].held -= process.bytes[i].exchange(0);
    cards().cards[i].asked -= process.asked[i].exchange(0);
  }
  process.pid = 0;
}

Process* find_own(int pid) {
  for (Process& process : cards().processes) {
    if (process.pid == pid && !process.scripted) return &process;
  }
  return nullptr;
}

void give_all_back() {
  if (Process* own = find_own(getpid())) empty(*own);
}

}  // namespace

Cards& cards() {
  static Cards* const all = [] {
    Cards* found = map_cards();
    int empty = 0;
    if (found->ready.compare_exchange_strong(empty, 1)) {
      fill(*found);
      found->ready = 2;
    }
    while (found->ready != 2) sched_yield();
    return found;
  }();
  return *all;
}

Process* own_process() {
  const int pid = getpid();
  if (Process* own = find_own(pid)) return own;
  for (Process& process : cards().processes) {
    int nobody = 0;
    if (process.pid.compare_exchange_strong(nobody, pid)) {
      atexit(give_all_back);  // as the driver does at the end of a process
      return &process;
    }
  }
  return nullptr;
}

void reap() {
  for (Process& process : cards().processes) {
    int pid = process.pid;
    if (pid == 0 || process.scripted || kill(pid, 0) == 0 || errno != ESRCH) continue;
    if (!process.pid.compare_exchange_strong(pid, -1)) continue;
    empty(process);
  }
}

uint64_t parse_bytes(const std::string& text) {
  char* end = nullptr;
  const uint64_t number = strtoull(text.c_str(), &end, 10);
  switch (*end) {
    case 'G': return number << 30;
    case 'M': return number << 20;
    case 'K': return number << 10;
    default: return number;
  }
}

std::string card_uuid(int card) {
  char text[64];
  snprintf(text, sizeof text, "GPU-%08x-0000-4000-8000-00000000000%d", 0xfa4e0000 + card, card);
  return text;
}

std::string card_bus(int card) {
  char text[32];
  snprintf(text, sizeof text, "00000000:%02X:00.0", card + 1);
  return text;
}

}  // namespace fake
