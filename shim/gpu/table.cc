#include "shim/gpu/table.h"

#include <sys/mman.h>

#include "collector/probe/syscall.h"

namespace oomguard::gpu {
namespace {

constexpr uint64_t kFree = 0;
constexpr uint64_t kBusy = 1;
constexpr uint32_t kCountBits = 32;
constexpr auto kRelaxed = std::memory_order_relaxed;

size_t place(uint64_t key, uint32_t bits) noexcept {
  return (key * 0x9e3779b97f4a7c15u) >> (64 - bits);
}

}  // namespace

Table::Slot* Table::stage(size_t number, bool make) noexcept {
  Slot* slots = stages_[number].load(std::memory_order_acquire);
  if (slots != nullptr || !make) return slots;
  const long size = static_cast<long>(sizeof(Slot) << kBits[number]);
  const long memory = sys::call(SYS_mmap, 0, size, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory < 0 && memory > -4096) return nullptr;
  auto* mine = reinterpret_cast<Slot*>(memory);
  if (stages_[number].compare_exchange_strong(slots, mine)) return mine;
  sys::call(SYS_munmap, memory, size);
  return slots;
}

bool Table::put(const Entry& entry) noexcept {
  for (size_t number = 0; number < kStages; ++number) {
    Slot* slots = stage(number, true);
    if (slots == nullptr) return false;
    const size_t mask = (size_t{1} << kBits[number]) - 1;
    const size_t first = place(entry.key, kBits[number]);
    for (size_t i = 0; i < kTries; ++i) {
      Slot& slot = slots[(first + i) & mask];
      uint64_t free = kFree;
      if (slot.key.load(kRelaxed) != kFree ||
          !slot.key.compare_exchange_strong(free, kBusy, std::memory_order_acquire)) {
        continue;
      }
      slot.bytes.store(entry.bytes, kRelaxed);
      // Whoever sees these sees also that the key is another (add).
      slot.counts.store(((slot.counts.load(kRelaxed) >> kCountBits) + 1) << kCountBits |
                            entry.counts,
                        std::memory_order_release);
      slot.device = entry.device;
      slot.account = entry.account;
      slot.context = entry.context;
      slot.key.store(entry.key, std::memory_order_release);  // pairs with look's acquire
      return true;
    }
  }
  return false;
}

Table::Slot* Table::look(uint64_t key) noexcept {
  if (key <= kBusy) return nullptr;
  for (size_t number = 0; number < kStages; ++number) {
    Slot* slots = stage(number, false);
    if (slots == nullptr) return nullptr;
    const size_t mask = (size_t{1} << kBits[number]) - 1;
    const size_t first = place(key, kBits[number]);
    for (size_t i = 0; i < kTries; ++i) {
      Slot& slot = slots[(first + i) & mask];
      if (slot.key.load(std::memory_order_acquire) == key) return &slot;
    }
  }
  return nullptr;
}

Table::Entry Table::entry_of(const Slot& slot, uint64_t key) noexcept {
  const auto counts = static_cast<uint32_t>(slot.counts.load(kRelaxed));
  return {key, slot.bytes.load(kRelaxed), counts, slot.device, slot.account, slot.context};
}

bool Table::free_if(Slot* slot, uint64_t key) noexcept {
  return slot->key.compare_exchange_strong(key, kFree, std::memory_order_acq_rel);
}

bool Table::take(uint64_t key, Entry* out) noexcept {
  Slot* slot = look(key);
  if (slot == nullptr) return false;
  *out = entry_of(*slot, key);
  return free_if(slot, key);
}

bool Table::find(uint64_t key, Entry* out) noexcept {
  const Slot* slot = look(key);
  if (slot != nullptr) *out = entry_of(*slot, key);
  return slot != nullptr;
}

bool Table::add(uint64_t key, uint32_t change, uint32_t* now) noexcept {
  Slot* slot = look(key);
  if (slot == nullptr) return false;
  uint64_t before = slot->counts.load(std::memory_order_acquire);
  uint64_t after = 0;
  do {
    if (slot->key.load(std::memory_order_acquire) != key) return false;
    *now = static_cast<uint32_t>(before) + change;
    after = before >> kCountBits << kCountBits | *now;
  } while (!slot->counts.compare_exchange_weak(before, after, std::memory_order_acq_rel,
                                               std::memory_order_acquire));
  return true;
}

bool Table::change_bytes(uint64_t key, int64_t before, int64_t bytes) noexcept {
  Slot* slot = look(key);
  return slot != nullptr && slot->bytes.compare_exchange_strong(before, bytes);
}

void Table::forget() noexcept {
  for (size_t number = 0; number < kStages; ++number) {
    Slot* slots = stages_[number].exchange(nullptr);
    if (slots == nullptr) continue;
    sys::call(SYS_munmap, sys::as_arg(slots), static_cast<long>(sizeof(Slot) << kBits[number]));
  }
}

}  // namespace oomguard::gpu
