#include "shim/spill/mover.h"

#include <sys/mman.h>

#include <algorithm>

#include "collector/probe/kernel_file.h"
#include "collector/probe/kernel_text.h"
#include "collector/probe/syscall.h"
#include "shim/spill/pages.h"
#include "shim/spill/ranges.h"
#include "shim/spill/stop.h"

namespace oomguard::spill {
namespace {

using budget::kMiB;

// Shorter stretches are not worth a mapping of their own, but for the end of a block.
constexpr uintptr_t kShortestRun = 256 * 1024;
// With a thread about that may wake at any moment, what was seen is used at once.
constexpr uintptr_t kLongestRun = 64 * kMiB;
constexpr int64_t kLongestNs = 1'000'000'000;

uintptr_t page_size() { return static_cast<uintptr_t>(probe::page_size()); }

// Pages from `at` to the end of its region of 2 MiB, or to `to`.
size_t pages_of_region(uintptr_t at, uintptr_t to) {
  const uintptr_t region = kRegionPages * page_size();
  const uintptr_t end = std::min(to, (at / region + 1) * region);
  return (end - at) / page_size();
}

}  // namespace

bool Mover::begin() noexcept {
  if (!survey_mappings(&survey_) || survey_.rings || collect_candidates() == 0) return false;
  sleepers_ = has_sleepers();
  until_ns_ = sys::monotonic_ns() + kLongestNs;
  return true;
}

void Mover::move_all() noexcept {
  const probe::OneShot pagemap({"/proc/thread-self", "pagemap"});
  if (!pagemap || !begin()) return;
  pagemap_ = pagemap.fd();
  walk(&Mover::move_empty);
  if (totals_.scattered == 0 || copy_budget_ <= 0 || survey_.pins) return;
  totals_.scattered = 0;
  walk(&Mover::move_mixed);
}

void Mover::walk(Move move) noexcept {
  move_ = move;
  walk_candidates(
      [](void* context, const Candidate& candidate, uintptr_t from, uintptr_t to) {
        Mover& self = *static_cast<Mover*>(context);
        if (sys::monotonic_ns() > self.until_ns_ || self.totals_.moved) return false;
        if (!self.may_move(candidate)) return self.totals_.left_out = true;
        return (self.*self.move_)({candidate, from, to});
      },
      this);
}

bool Mover::may_move(const Candidate& candidate) noexcept {
  return !is_sleeper(candidate.thread_id) && !call_points_into(candidate.mapping, candidate.end);
}

bool Mover::move_empty(const Stretch& stretch) noexcept {
  const uintptr_t page = page_size();
  uintptr_t run = 0;  // where a stretch of empty pages began
  PageSet set;
  for (uintptr_t at = stretch.from; at < stretch.to;) {
    const size_t count = pages_of_region(at, stretch.to);
    if (!look_at_pages(pagemap_, at, count, !survey_.pins, &set)) return false;
    if (set.filled == 0) {
      if (run == 0) run = at;
    } else {
      for (size_t i = 0; i < count; ++i) {
        const uintptr_t here = at + i * page;
        if (!set.holds_something(i)) {
          if (run == 0) run = here;
        } else if (run != 0) {
          if (!end_run(stretch.candidate, run, here)) return false;
          run = 0;
        }
      }
    }
    at += count * page;
    if (run != 0 && sleepers_ && at - run >= kLongestRun) {
      if (!end_run(stretch.candidate, run, at)) return false;
      run = 0;
    }
  }
  return run == 0 || end_run(stretch.candidate, run, stretch.to);
}

bool Mover::end_run(const Candidate& candidate, uintptr_t from, uintptr_t to) noexcept {
  const bool worth_it = to - from >= kShortestRun || to == candidate.end;
  if (!worth_it || survey_.mappings + 2 > survey_.most_mappings) {
    totals_.scattered += static_cast<Bytes>(to - from);
    return true;
  }
  return remap(candidate, from, to);
}

bool Mover::move_mixed(const Stretch& stretch) noexcept {
  for (uintptr_t at = stretch.from; at < stretch.to;) {
    const size_t count = pages_of_region(at, stretch.to);
    if (!move_region(stretch.candidate, at, count)) return false;
    at += count * page_size();
  }
  return true;
}

bool Mover::move_region(const Candidate& candidate, uintptr_t from, size_t pages) noexcept {
  const uintptr_t page = page_size();
  PageSet set;
  if (!look_at_pages(pagemap_, from, pages, true, &set)) return false;
  const Bytes empty = static_cast<Bytes>((pages - set.filled) * page);
  const Bytes content = static_cast<Bytes>(set.filled * page);
  if (empty == 0) return true;
  // A copy of pages that a child holds as well gives none of them back.
  const bool in_vain = set.shared * 2 > set.filled;
  uint64_t offset;
  if (in_vain || totals_.copied + content > copy_budget_ ||
      survey_.mappings + 2 > survey_.most_mappings || !file_offset(candidate, from, &offset)) {
    totals_.scattered += empty;
    return true;
  }
  for (size_t first = 0; first < pages;) {
    size_t last = first;
    while (last < pages && set.holds_something(last)) ++last;
    const void* data = reinterpret_cast<void*>(from + first * page);
    if (last > first && !store_.write(offset + first * page, data, (last - first) * page)) {
      store_.punch(offset, pages * page);
      totals_.no_space = true;
      return false;
    }
    first = last + 1;
  }
  if (!remap(candidate, from, from + pages * page)) {
    store_.punch(offset, pages * page);
    return false;
  }
  count_copied(candidate, content);
  return true;
}

bool Mover::file_offset(const Candidate& candidate, uintptr_t address, uint64_t* offset) noexcept {
  Range* range = ranges.find(candidate.block);
  if (range == nullptr || range->state.load() == Range::State::kReturned) {
    uint64_t base;
    if (!store_.reserve(candidate.end - candidate.start, &base)) {
      totals_.no_space = true;
      return false;
    }
    const bool in_pieces = range != nullptr && range->in_pieces.load();
    if (range != nullptr) ranges.forget(candidate.block);  // its part of a file is gone
    range = ranges.add(candidate.block, candidate.start, candidate.end, base);
    if (range == nullptr) return false;
    range->in_pieces.store(in_pieces);
  }
  // A file that an earlier raw thread had open takes nothing any more.
  if (range->state.load() != Range::State::kLive) return false;
  *offset = range->offset + (address - range->start.load());
  return true;
}

void Mover::count_copied(const Candidate& candidate, Bytes bytes) noexcept {
  totals_.copied += bytes;
  if (Range* range = ranges.find(candidate.block); range != nullptr) range->copied += bytes;
}

// True: go on, also where this stretch stays as it is.
bool Mover::remap(const Candidate& candidate, uintptr_t from, uintptr_t to) noexcept {
  uint64_t offset;
  if (!file_offset(candidate, from, &offset)) {
    totals_.scattered += static_cast<Bytes>(to - from);
    return true;
  }
  if (sleepers_ && !sleepers_unmoved()) {
    totals_.moved = true;
    return false;
  }
  const long result = sys::call(SYS_mmap, static_cast<long>(from), static_cast<long>(to - from),
                                PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
                                store_.fd(), static_cast<long>(offset));
  if (result != static_cast<long>(from)) return false;
  // Reading around each page that is touched would push out the others.
  sys::call(SYS_madvise, static_cast<long>(from), static_cast<long>(to - from), MADV_RANDOM);
  survey_.mappings += 2;
  totals_.lent += static_cast<Bytes>(to - from);
  return true;
}

}  // namespace oomguard::spill
