// Names thrashing: mapped files that do not fit into the limit and are therefore read from the disk
// over and over. One line on stderr and a record in the session, once each time it begins; never a
// refusal, for nothing is out of memory.
//
// Looks only while a limit is full or this process waits for the disk: ten times a second then, at
// 64 pages of up to eight files (about 20 us each); else one getrusage a second. One thread's state
// (the raw thread's). Callable from the raw thread: yes, and from nowhere else.
#pragma once

#include "collector/probe/mapped_files.h"
#include "shim/budget/look.h"
#include "shim/budget/reread.h"

namespace oomguard::budget {

class Thrashing {
 public:
  // After each look at the limits.
  void look(const Look& look) noexcept;

 private:
  static constexpr size_t kFiles = 8;

  struct Counters {
    uint64_t major_faults = 0;
    Bytes refaults = -1;              // in bytes; -1: not read, or not told
    uint16_t group = probe::kNoPath;  // whose: a group's, or the machine's
  };

  Counters read_counters(const Look& look, const probe::Level* full) const noexcept;
  static Bytes read_again(const Counters& before, const Counters& now) noexcept;
  static bool is_suspicious(const Counters& before, const Counters& now, bool is_full) noexcept;
  void find_files(int64_t now_ns) noexcept;
  void watch(const Look& look, const probe::Level* full) noexcept;
  Rereading since_begin(const Counters& now, int64_t now_ns) const noexcept;
  void tell(const Rereading& seen, Bytes limit) noexcept;

  int64_t looked_ns_ = 0;
  int64_t asked_ns_ = 0;
  int64_t found_ns_ = 0;    // when the files were looked for
  int64_t begun_ns_ = 0;    // 0: nothing is watched
  int64_t changed_ns_ = 0;  // when a watched page came or went
  bool told_ = false;
  Counters asked_;
  Counters begun_;
  size_t count_ = 0;
  probe::MappedFile files_[kFiles];
  SampledPages pages_[kFiles];
};

}  // namespace oomguard::budget
