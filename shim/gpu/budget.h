// How much of a card this process may take, and the one answer of our own: kOutOfMemory.
//
// With a configured budget (--gpu-budget) a card's `held` never exceeds it, counted over the
// process tree. Without one (auto) the limit is what the card has free, read again as it is used
// up, less a reserve. Managed memory may be more than a card has: of it, what the card has no room
// for is asked of the host's gate. Before anything is refused, pools give back what they keep, as the driver
// itself would have them do.
//
// Fails open: where a card, a context or a size cannot be read, the driver decides.
// Thread-safety: all, without locks. Callable from the GPU hooks, in a thread of the program.
#pragma once

#include "shim/gpu/ledger.h"
#include "shim/gpu/request.h"

namespace oomguard::gpu {

// The configured limit of a card in bytes; kNoBudget where it is auto or cannot be known.
inline constexpr Bytes kNoBudget = INT64_MAX;
[[nodiscard]] Bytes budget_of(int device) noexcept;

// What the program sees of a card's memory (--view): never more than the driver said.
void limit_view(int device, size_t* free, size_t* total) noexcept;

// The card of the calling thread's current context; -1 where it has none.
[[nodiscard]] int current_card() noexcept;

// In a forked child, which holds nothing. Costs nothing where no driver was loaded.
void on_fork_child() noexcept;

// One request, from before the driver is asked until its answer is recorded. A call that the driver
// makes of another hook inside of it is neither judged nor counted.
class Charge {
 public:
  // `need`: what the card has to have for a request of that size.
  Charge(int device, Account account, Bytes size, Bytes need, const void* caller) noexcept;
  ~Charge();
  Charge(const Charge&) = delete;
  Charge& operator=(const Charge&) = delete;

  bool granted() const noexcept { return granted_; }
  // Somebody keeps account of what the driver gives.
  bool counts() const noexcept { return counts_; }
  // What is reserved still, and a part of it that has become part of an account.
  Bytes reserved() const noexcept { return reserved_; }
  void spend(Bytes bytes) noexcept { reserved_ -= bytes; }
  // The driver gave it: the account grew by `size`.
  void commit(Bytes size) noexcept;
  // The driver's answer where it gave nothing: its own refusal is recorded too.
  void failed(CUresult status) noexcept;

 private:
  Request request_;
  Bytes reserved_ = 0;
  bool granted_ = true;
  bool counts_ = false;
};

}  // namespace oomguard::gpu
