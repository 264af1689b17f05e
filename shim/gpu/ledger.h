// What this process holds on each card, by account.
//
// A request is reserved before the driver is asked and becomes part of an account after it, so that
// two threads never pass on the same bytes: `held` of a card never exceeds the limit that was asked
// for. Everything is atomic numbers; nothing waits. The process's one ledger has its numbers in the
// flight file, too (record::GpuRecord).
// Thread-safety: all. Callable from the GPU hooks and, for reading, from the raw thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "shim/gpu/table.h"

namespace oomguard::gpu {

using Bytes = int64_t;

enum class Account : uint16_t {
  kDevice, kArray, kPool, kVmm, kGraph, kContext,
  kManaged,              // moves between the card and the host: not part of `held`; up to here
                         // as record::GpuAccount
  kPinned, kRegistered,  // host memory: on no card, and the host's gate was asked
  kNone                  // known, and charged to nobody
};
inline constexpr size_t kAccounts = static_cast<size_t>(Account::kNone);
inline constexpr size_t kCards = 32;

struct alignas(64) Card {
  std::atomic<Bytes> held;          // the accounts before kManaged, and what is reserved
  std::atomic<Bytes> peak;          // of `held`, of what was granted
  std::atomic<Bytes> by[kAccounts];
  // The same as `held` for the process tree (budget/group_table.h), null where it is not shared.
  // Set before anything is reserved.
  std::atomic<std::atomic<Bytes>*> shared;
};

class Ledger {
 public:
  // False: `held` would exceed `limit`.
  [[nodiscard]] bool reserve(int device, Bytes bytes, Bytes limit) noexcept;
  void release(int device, Bytes bytes) noexcept;  // a reservation that came to nothing
  // What was reserved has become part of an account, and the other way round.
  void commit(int device, Account account, Bytes bytes) noexcept;
  void uncommit(int device, Account account, Bytes bytes) noexcept;
  // An account grew or shrank as the driver tells, and `reserved` was for that.
  void grow(int device, Account account, Bytes bytes, Bytes reserved) noexcept;
  // Managed memory, and host memory.
  void add_managed(int device, Bytes bytes) noexcept;
  void add_host(Account account, Bytes bytes) noexcept;

  static bool is_card(int device) noexcept {
    return device >= 0 && device < static_cast<int>(kCards);
  }
  Card& card(int device) noexcept { return cards_[device]; }
  const Card& card(int device) const noexcept { return cards_[device]; }
  Bytes held(int device) const noexcept {
    return card(device).held.load(std::memory_order_relaxed);
  }
  Bytes of(int device, Account account) const noexcept {
    return card(device).by[static_cast<size_t>(account)].load(std::memory_order_relaxed);
  }
  Bytes host(Account account) const noexcept {
    return host_[static_cast<size_t>(account)].load(std::memory_order_relaxed);
  }
  // A card of this name was met. Its numbers go to the flight file from now on.
  void show(int device, Bytes total, Bytes budget, const char* name) noexcept;
  // What the tree sees of this process's cards: nothing from before an exec until it failed, and
  // nothing any more once its place in the tree is given away.
  void hide_from_tree() noexcept;
  void show_to_tree() noexcept;
  void leave_tree() noexcept;
  // In a forked child, which cannot use its parent's contexts and holds nothing.
  void forget() noexcept;

  Table blocks;    // what has an address
  Table arrays;
  Table handles;   // cuMemCreate; counts: references, and mappings * kMapping
  Table mappings;  // address to handle (as `context`)
  Table pools;

 private:
  void add(int device, Account account, Bytes bytes) noexcept;
  void change(int device, Bytes bytes) noexcept;

  Card cards_[kCards] = {};
  std::atomic<Bytes> host_[kAccounts] = {};
};

extern Ledger ledger;

}  // namespace oomguard::gpu
