// Moves the pages of the candidates to the file, while all other threads are stopped.
//
// Pages that hold nothing are replaced by pages of the file, stretch by stretch. Where they lie
// scattered between pages that hold something, a region of 2 MiB is moved as a whole: what it holds
// is written to the file first. Thread-safety: from the raw thread only.
#pragma once

#include "shim/spill/candidates.h"
#include "shim/spill/store.h"

namespace oomguard::spill {

class Mover {
 public:
  struct Totals {
    Bytes lent = 0;
    Bytes copied = 0;
    Bytes scattered = 0;    // pages that hold nothing and stayed
    bool moved = false;     // a thread that nobody could stop has run: nothing more may be moved
    bool no_space = false;  // the disk or RLIMIT_FSIZE
    bool left_out = false;  // a block that somebody uses
    bool all() const { return scattered == 0 && !moved && !no_space && !left_out; }
  };

  Mover(Store& store, Bytes copy_budget) noexcept : store_(store), copy_budget_(copy_budget) {}
  void move_all() noexcept;
  const Totals& totals() const noexcept { return totals_; }

 private:
  struct Stretch {
    const Candidate& candidate;
    uintptr_t from;
    uintptr_t to;
  };
  using Move = bool (Mover::*)(const Stretch& stretch);

  bool begin() noexcept;
  void walk(Move move) noexcept;
  bool may_move(const Candidate& candidate) noexcept;
  bool move_empty(const Stretch& stretch) noexcept;
  bool end_run(const Candidate& candidate, uintptr_t from, uintptr_t to) noexcept;
  bool move_mixed(const Stretch& stretch) noexcept;
  bool move_region(const Candidate& candidate, uintptr_t from, size_t pages) noexcept;
  bool remap(const Candidate& candidate, uintptr_t from, uintptr_t to) noexcept;
  bool file_offset(const Candidate& candidate, uintptr_t address, uint64_t* offset) noexcept;
  void count_copied(const Candidate& candidate, Bytes bytes) noexcept;

  Store& store_;
  Bytes copy_budget_;
  Totals totals_;
  int pagemap_ = -1;
  Move move_ = nullptr;
  Survey survey_;
  bool sleepers_ = false;
  int64_t until_ns_ = 0;
};

}  // namespace oomguard::spill
