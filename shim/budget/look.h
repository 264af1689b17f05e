// What the watchdog sees with one look: the limits through descriptors of its own, and how memory
// moved since the last one. It passes on what requests are decided by.
// One thread's state (the raw thread's). Callable from the raw thread: yes, and from nowhere else.
#pragma once

#include <cstdint>

#include "shim/budget/copies.h"
#include "shim/budget/gate.h"
#include "shim/budget/tide.h"

namespace oomguard::budget {

struct Look {
  int64_t now_ns = 0;
  int64_t refreshed_ns = 0;
  int64_t text_ns = 0;
  int64_t killers_ns = 0;
  int64_t moved_ns = 0;     // this process's memory
  int64_t quiet_ns = 0;     // since when neither it nor the limit's usage moved
  int64_t complete_ns = 0;  // when own memory was read last
  int64_t pause_ns = 0;
  int64_t slip_ns = 0;      // how much longer than asked a sleep lasted lately, at the most
  bool fully = false;       // the last one needed everything that counts (probe::Depth::kFull)
  Bytes headroom = kNoLimit;
  Bytes text = 0;           // resident, of programs and libraries
  Bytes usage = 0;          // of the binding level, as counted
  Bytes own = -1;           // memory of this process
  Bytes in_flight = 0;      // of it: young blocks that it has not filled yet
  bool standing = false;    // its threads do, for another process that is to act
  Bytes returned = 0;       // that came back from the file: growth of our own making
  Tide tide;
  Copies copies;
  Judgement judgement{};

  // What may grow until the next look has ended.
  Bytes per_look() const { return tide.grown_in(pause_ns + slip_ns); }
  bool calm() const { return now_ns - moved_ns > kCalmNs; }
  static constexpr int64_t kCalmNs = 1'000'000'000;
};

namespace look {

// An open file, and a new page of a mapped one, are kernel memory that the group is charged for.
// With less left whoever takes them would be the one that calls the OOM killer.
inline constexpr Bytes kRoomToOpen = 2 * kMiB;

// Opens the descriptors; in the raw thread, at its start.
void open() noexcept;
// False where nothing could be read. Sets `changed`: false where nothing moves, and the rest of the
// look may be left out.
bool take(Look* look, bool* changed) noexcept;
// What the kernel itself would find before it kills: the text of programs is evicted before that. A
// reading of its own.
Bytes headroom_with_text(const Look& look) noexcept;
// A reading of its own, as of now; kNoLimit where nothing can be read.
Bytes headroom_now() noexcept;
const probe::Residency& pages() noexcept;
const probe::Probe& eyes() noexcept;
// What of this process's memory is in its file: reclaimable, in every reading from here on.
void set_in_file(Bytes bytes) noexcept;
Bytes needed(const Look& look) noexcept;

}  // namespace look
}  // namespace oomguard::budget
