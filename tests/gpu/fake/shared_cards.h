// The cards that the fake driver and the fake NVML know, in one file where processes share them.
#ifndef OOMGUARD_TESTS_GPU_FAKE_SHARED_CARDS_H
#define OOMGUARD_TESTS_GPU_FAKE_SHARED_CARDS_H

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "tests/gpu/fake/fake_cuda.h"

namespace fake {

inline constexpr int kCards = 8;
inline constexpr int kProcesses = 64;

struct Card {
  std::atomic<uint64_t> bytes;                        // its size; 0: there is none
  std::atomic<uint64_t> held;                         // of all kinds but managed, with others
  std::atomic<uint64_t> asked, peak;                  // without contexts and others
};

struct Process {
  std::atomic<int> pid;
  bool scripted;  // from FAKE_CUDA_OTHERS: need not exist
  std::array<std::atomic<uint64_t>, kCards> bytes;
  std::array<std::atomic<uint64_t>, kCards> asked;
};

struct Cards {
  std::atomic<int> ready;  // 1 while somebody fills it, 2 when done
  std::array<Card, kCards> cards;
  std::array<Process, kProcesses> processes;
};

// In the file FAKE_CUDA_STATE, or this process's own; filled from the environment at the first
// call.
Cards& cards();
// The calling process's entry, or null where the table is full.
Process* own_process();
// What ended processes held is free again.
void reap();

uint64_t parse_bytes(const std::string& text);  // 40G, 300M, 12345
std::string card_uuid(int card);                // GPU-00000000-...
std::string card_bus(int card);                 // 00000000:01:00.0

}  // namespace fake

#endif  // OOMGUARD_TESTS_GPU_FAKE_SHARED_CARDS_H
