// What the driver handed out, by address or handle: where it stands in the ledger.
//
// Open addressing with a bounded search, in memory of our own that is mapped with the first entry
// and grows twice. An entry belongs to whoever allocated it: it is put in before its address is
// known to the program and taken out before the driver may hand that address out again, so no two
// threads ever meet in one, and nothing here waits.
// Thread-safety: all. Allocates nothing from the program's heap. Callable from the GPU hooks.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace oomguard::gpu {

class Table {
 public:
  struct Entry {
    uint64_t key;     // never 0
    int64_t bytes;
    uint32_t counts;  // what the account makes of it
    int16_t device;
    uint16_t account;
    uint64_t context;
  };

  // False: there is no room any more.
  [[nodiscard]] bool put(const Entry& entry) noexcept;
  // False: unknown.
  [[nodiscard]] bool take(uint64_t key, Entry* out) noexcept;
  // The same without taking it out.
  [[nodiscard]] bool find(uint64_t key, Entry* out) noexcept;
  // Adds to `counts`, answers what they are then. False: unknown. Callable for an entry that its
  // owner may take out meanwhile; another one that is put in its place is left alone.
  [[nodiscard]] bool add(uint64_t key, uint32_t change, uint32_t* now) noexcept;
  // Sets `bytes` where they are as before. False: unknown, or another thread was first.
  [[nodiscard]] bool change_bytes(uint64_t key, int64_t before, int64_t bytes) noexcept;
  template <typename Visit>
  void for_each(Visit visit) noexcept;
  // Takes out every entry that is `wanted`, and hands each to `taken`.
  template <typename Wanted, typename Taken>
  void sweep(Wanted wanted, Taken taken) noexcept;
  // In a forked child: nothing of its parent's is there.
  void forget() noexcept;

 private:
  struct Slot {
    std::atomic<uint64_t> key;  // 0: free, 1: being filled
    std::atomic<int64_t> bytes;
    std::atomic<uint64_t> counts;  // and above them, how many entries were put in here
    int16_t device;
    uint16_t account;
    uint64_t context;
  };
  static constexpr size_t kStages = 3;
  static constexpr uint32_t kBits[kStages] = {10, 15, 20};
  static constexpr size_t kTries = 32;

  Slot* stage(size_t number, bool make) noexcept;
  Slot* look(uint64_t key) noexcept;
  static Entry entry_of(const Slot& slot, uint64_t key) noexcept;
  static bool free_if(Slot* slot, uint64_t key) noexcept;

  std::atomic<Slot*> stages_[kStages] = {};
};

template <typename Wanted, typename Taken>
void Table::sweep(Wanted wanted, Taken taken) noexcept {
  for (size_t number = 0; number < kStages; ++number) {
    Slot* slots = stage(number, false);
    for (size_t i = 0; slots != nullptr && i < (size_t{1} << kBits[number]); ++i) {
      const uint64_t key = slots[i].key.load(std::memory_order_acquire);
      if (key <= 1) continue;
      const Entry entry = entry_of(slots[i], key);
      if (wanted(entry) && free_if(&slots[i], key)) taken(entry);
    }
  }
}

template <typename Visit>
void Table::for_each(Visit visit) noexcept {
  sweep([&visit](const Entry& entry) { return visit(entry), false; }, [](const Entry&) {});
}

}  // namespace oomguard::gpu
