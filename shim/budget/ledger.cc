#include "shim/budget/ledger.h"

#include <algorithm>

#include "shim/budget/block_filter.h"
#include "shim/budget/group_table.h"
#include "shim/trace/sites.h"

namespace oomguard::budget {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr uint32_t kFromHeap = 1;
constexpr uint32_t kPassedOver = 2;  // its thread asked for memory again
constexpr int64_t kLookAgainNs = 2'000'000;

}  // namespace

constinit BlockFilter block_filter;
constinit Ledger ledger;

size_t Ledger::home(uintptr_t address) noexcept {
  const uint64_t key = address >> 4;
  return static_cast<size_t>((key * 0xD6E8FEB86659FD93ull) >> 50) & (kSlots - 1);
}

size_t Ledger::slot_of(uintptr_t address) const noexcept {
  const size_t start = home(address);
  for (size_t i = 0; i < kProbe; ++i) {
    const size_t slot = (start + i) & (kSlots - 1);
    if (keys_[slot].load(std::memory_order_acquire) == address) return slot;
  }
  return kSlots;
}

void Ledger::set(Bits& bits, size_t slot, bool on) noexcept {
  const uint64_t bit = uint64_t{1} << (slot % 64);
  if (on) {
    bits[slot / 64].fetch_or(bit, kRelaxed);
  } else {
    bits[slot / 64].fetch_and(~bit, kRelaxed);
  }
}

void Ledger::add(const Block& block) noexcept {
  const size_t start = home(block.address);
  for (size_t i = 0; i < kProbe; ++i) {
    const size_t slot = (start + i) & (kSlots - 1);
    uintptr_t expected = 0;
    if (!keys_[slot].compare_exchange_strong(expected, kBusy, std::memory_order_acq_rel)) continue;
    Entry& entry = entries_[slot];
    entry.size.store(block.size_bytes, kRelaxed);
    entry.touched.store(block.touched_bytes, kRelaxed);
    entry.born_ns.store(block.born_ns, kRelaxed);
    entry.moved_ns.store(block.born_ns, kRelaxed);
    entry.sampled_ns.store(0, kRelaxed);
    entry.caller.store(block.caller, kRelaxed);
    entry.thread_id.store(block.thread_id, kRelaxed);
    entry.flags.store(block.from_heap ? kFromHeap : 0, kRelaxed);
    entry.site.store(block.site, kRelaxed);
    entry.weight.store(block.weight, kRelaxed);
    block_filter.add(reinterpret_cast<void*>(block.address));
    total_bytes_.fetch_add(block.size_bytes, kRelaxed);
    count_.fetch_add(1, kRelaxed);
    trace::sites::count_live(block.site, block.weight, 1);
    keys_[slot].store(block.address, std::memory_order_release);  // pairs with slot_of's acquire
    set(incomplete_, slot, true);
    set(active_, slot, true);
    if (!block.from_heap) set(mapped_, slot, true);
    return;
  }
  dropped_.fetch_add(1, kRelaxed);
}

void Ledger::read(size_t slot, Block* out) const noexcept {
  const Entry& entry = entries_[slot];
  out->address = keys_[slot].load(std::memory_order_acquire);
  out->size_bytes = entry.size.load(kRelaxed);
  out->touched_bytes = entry.touched.load(kRelaxed);
  out->born_ns = entry.born_ns.load(kRelaxed);
  out->caller = entry.caller.load(kRelaxed);
  out->thread_id = entry.thread_id.load(kRelaxed);
  out->from_heap = (entry.flags.load(kRelaxed) & kFromHeap) != 0;
  out->site = entry.site.load(kRelaxed);
  out->weight = entry.weight.load(kRelaxed);
}

bool Ledger::remove(uintptr_t address, Block* out) noexcept {
  const size_t slot = slot_of(address);
  if (slot == kSlots) return false;
  uintptr_t expected = address;
  if (!keys_[slot].compare_exchange_strong(expected, kBusy, std::memory_order_acq_rel))
    return false;
  Block block;  // read once it is ours: before, it could be replaced under the reader
  read(slot, &block);
  // What neighbours see ends with the block, else a loop that frees what it asks for (a pipe's
  // reader does) would seem to be filling all of it. Before the ledger, for the reason given in
  // Gate's block.
  if ((active_[slot / 64].load(kRelaxed) >> (slot % 64) & 1) != 0) {
    group_table.add_in_flight(std::max<int64_t>(0, block.touched_bytes) - block.size_bytes);
  }
  set(incomplete_, slot, false);
  set(active_, slot, false);
  if (!block.from_heap) set(mapped_, slot, false);
  block_filter.remove(reinterpret_cast<void*>(address));
  total_bytes_.fetch_sub(block.size_bytes, kRelaxed);
  count_.fetch_sub(1, kRelaxed);
  trace::sites::count_live(block.site, -block.weight, -1);
  keys_[slot].store(0, std::memory_order_release);
  block.address = address;
  if (out != nullptr) *out = block;
  return true;
}

bool Ledger::find(uintptr_t address, Block* out) const noexcept {
  const size_t slot = slot_of(address);
  if (slot == kSlots) return false;
  read(slot, out);
  return out->address == address;
}

template <typename Visit>
void Ledger::each(const Bits& all, Visit visit) noexcept {
  for (size_t word = 0; word < kSlots / 64; ++word) {
    uint64_t bits = all[word].load(kRelaxed);
    while (bits != 0) {
      visit(word * 64 + static_cast<size_t>(__builtin_ctzll(bits)));
      bits &= bits - 1;
    }
  }
}

void Ledger::unmap(uintptr_t address, size_t size) noexcept {
  const uintptr_t end = address + size;
  if (end <= address) return;
  each(mapped_, [&](size_t slot) {
    const uintptr_t start = keys_[slot].load(std::memory_order_acquire);
    if (start <= kBusy || start >= end) return;
    Block block;
    read(slot, &block);
    const uintptr_t block_end = start + static_cast<uintptr_t>(block.size_bytes);
    if (block.from_heap || block.address != start || block_end <= address) return;
    if (!remove(start, &block)) return;
    Block rest = block;
    if (start < address) {  // the head stays (a hole in the middle: its tail is forgotten)
      rest.size_bytes = static_cast<int64_t>(address - start);
    } else if (end < block_end) {
      rest.address = end;
      rest.size_bytes = static_cast<int64_t>(block_end - end);
    } else {
      return;
    }
    rest.touched_bytes = -1;
    rest.weight = static_cast<int64_t>(static_cast<double>(block.weight) /
                                       static_cast<double>(block.size_bytes) *
                                       static_cast<double>(rest.size_bytes));
    if (rest.size_bytes > static_cast<int64_t>(kRecordedAbove)) add(rest);
  });
}

bool Ledger::is_active(size_t slot, int64_t now_ns) noexcept {
  const Entry& entry = entries_[slot];
  const int64_t since_ns = now_ns - young_ns_.load(kRelaxed);
  if (std::max(entry.born_ns.load(kRelaxed), entry.moved_ns.load(kRelaxed)) > since_ns) return true;
  set(active_, slot, false);
  // Another block may have taken the slot meanwhile: what it says of itself now is what counts.
  if (entry.born_ns.load(kRelaxed) <= since_ns) return false;
  set(active_, slot, true);
  return true;
}

bool Ledger::pass_over(int32_t thread_id, int64_t now_ns) noexcept {
  bool some_are_new = false;
  each(active_, [&](size_t slot) {
    Entry& entry = entries_[slot];
    if (entry.thread_id.load(kRelaxed) != thread_id) return;
    if ((entry.flags.load(kRelaxed) & kPassedOver) != 0) return;
    if (now_ns - entry.born_ns.load(kRelaxed) < kPassedOverNs) {
      some_are_new = true;
      return;
    }
    entry.sampled_ns.store(0, kRelaxed);  // what was seen before is no answer
    entry.flags.fetch_or(kPassedOver, kRelaxed);
  });
  return some_are_new;
}

// Its thread went on without having touched it.
bool Ledger::is_left_alone(size_t slot) noexcept {
  const Entry& entry = entries_[slot];
  if ((entry.flags.load(kRelaxed) & kPassedOver) == 0 || entry.touched.load(kRelaxed) != 0)
    return false;
  set(active_, slot, false);
  if ((entry.flags.load(kRelaxed) & kPassedOver) != 0) return true;
  set(active_, slot, true);  // another block by now
  return false;
}

// Looks at the pages of one block and notes whether more of it is there than last time. A block
// that is complete is never looked at again.
void Ledger::sample(size_t slot, int64_t now_ns, const probe::Residency& residency) noexcept {
  const uintptr_t address = keys_[slot].load(std::memory_order_acquire);
  if (address <= kBusy) return;
  Entry& entry = entries_[slot];
  const int64_t size = entry.size.load(kRelaxed);
  const int64_t before = entry.touched.load(kRelaxed);
  const int64_t born_ns = entry.born_ns.load(kRelaxed);
  int64_t touched = residency.touched_bytes(address, static_cast<size_t>(size));
  // Unknown: counted in full while it is young. Another block by now: none of this is about it.
  if (touched < 0 || entry.born_ns.load(kRelaxed) != born_ns) return;
  if (touched > size) touched = size;
  entry.touched.store(touched, kRelaxed);
  entry.sampled_ns.store(now_ns, kRelaxed);
  if (touched >= size - size / 64) {
    set(incomplete_, slot, false);
    set(active_, slot, false);
  } else if (touched > (before < 0 ? 0 : before)) {
    entry.moved_ns.store(now_ns, kRelaxed);
    set(active_, slot, true);
  }
}

int64_t Ledger::in_flight(int32_t self, int64_t now_ns,
                          const probe::Residency& residency) noexcept {
  int64_t sum = 0;
  each(active_, [&](size_t slot) {
    Entry& entry = entries_[slot];
    if (entry.thread_id.load(kRelaxed) == self || !is_active(slot, now_ns)) return;
    if (now_ns - entry.sampled_ns.load(kRelaxed) >= kLookAgainNs) sample(slot, now_ns, residency);
    if (is_left_alone(slot)) return;
    const int64_t touched = entry.touched.load(kRelaxed);
    sum += entry.size.load(kRelaxed) - (touched < 0 ? 0 : touched);
  });
  return sum;
}

int64_t Ledger::in_flight_bound(int32_t self, int64_t now_ns) noexcept {
  int64_t sum = 0;
  each(active_, [&](size_t slot) {
    const Entry& entry = entries_[slot];
    if (entry.thread_id.load(kRelaxed) == self || !is_active(slot, now_ns)) return;
    const int64_t touched = entry.touched.load(kRelaxed);
    sum += entry.size.load(kRelaxed) - (touched < 0 ? 0 : touched);
  });
  return sum;
}

int64_t Ledger::untouched_of_heap(int64_t since_ns) noexcept {
  int64_t sum = 0;
  each(incomplete_, [&](size_t slot) {
    const Entry& entry = entries_[slot];
    if ((entry.flags.load(kRelaxed) & kFromHeap) == 0) return;
    if (entry.born_ns.load(kRelaxed) <= since_ns) return;
    sum += entry.size.load(kRelaxed) - std::max<int64_t>(0, entry.touched.load(kRelaxed));
  });
  return sum;
}

int64_t Ledger::untouched(int64_t now_ns, const probe::Residency& residency) noexcept {
  int64_t sum = 0;
  each(incomplete_, [&](size_t slot) {
    const Entry& entry = entries_[slot];
    if (now_ns - entry.sampled_ns.load(kRelaxed) >= kYoungNs) sample(slot, now_ns, residency);
    sum += entry.size.load(kRelaxed) - std::max<int64_t>(0, entry.touched.load(kRelaxed));
  });
  return sum;
}

void Ledger::look_at_quiet(size_t count, int64_t now_ns,
                           const probe::Residency& residency) noexcept {
  size_t word = quiet_cursor_.load(kRelaxed);
  for (size_t seen = 0; seen < kSlots / 64 && count > 0; ++seen) {
    uint64_t bits = incomplete_[word].load(kRelaxed) & ~active_[word].load(kRelaxed);
    for (; bits != 0; bits &= bits - 1) {
      sample(word * 64 + static_cast<size_t>(__builtin_ctzll(bits)), now_ns, residency);
      if (count > 0) --count;
    }
    word = (word + 1) % (kSlots / 64);
  }
  quiet_cursor_.store(word, kRelaxed);
}

int32_t Ledger::most_active_thread(int64_t now_ns) noexcept {
  int64_t largest = 0;
  int32_t thread_id = 0;
  each(active_, [&](size_t slot) {
    const Entry& entry = entries_[slot];
    const int64_t size = entry.size.load(kRelaxed);
    if (size <= largest || !is_active(slot, now_ns)) return;
    largest = size;
    thread_id = entry.thread_id.load(kRelaxed);
  });
  return thread_id;
}

size_t Ledger::largest(Block* out, size_t capacity) const noexcept {
  if (capacity == 0) return 0;
  size_t count = 0;
  for (size_t slot = 0; slot < kSlots; ++slot) {
    if (keys_[slot].load(std::memory_order_acquire) <= kBusy) continue;
    const int64_t size = entries_[slot].size.load(kRelaxed);
    if (count == capacity && size <= out[count - 1].size_bytes) continue;
    size_t at = count < capacity ? count++ : count - 1;
    while (at > 0 && out[at - 1].size_bytes < size) {
      out[at] = out[at - 1];
      --at;
    }
    read(slot, &out[at]);
  }
  return count;
}

bool Ledger::at(size_t slot, Block* out) const noexcept {
  if (keys_[slot].load(std::memory_order_acquire) <= kBusy) return false;
  read(slot, out);
  return out->address > kBusy;
}

void Ledger::each_incomplete(void (*visit)(const Block&)) const noexcept {
  each(incomplete_, [&](size_t slot) {
    Block block;
    if (at(slot, &block)) visit(block);
  });
}

void Ledger::on_fork_child() noexcept {
  for (size_t slot = 0; slot < kSlots; ++slot) {
    if (keys_[slot].load(kRelaxed) == 0 || entries_[slot].site.load(kRelaxed) == 0) continue;
    entries_[slot].site.store(0, kRelaxed);  // a stack in its parent's file
  }
  for (auto& word : incomplete_) word.store(0, kRelaxed);
  for (auto& word : active_) word.store(0, kRelaxed);
}

}  // namespace oomguard::budget
