#include "shim/budget/timeline.h"

#include "collector/record/timeline.h"
#include "shim/budget/resident.h"
#include "shim/core/session.h"
#include "shim/spill/lender.h"

namespace oomguard::budget::timeline {
namespace {

constexpr int64_t kQuietEveryNs = 500'000'000;
constexpr size_t kPageBytes = 4096;
constexpr size_t kPages =
    (record::kTimelineSamples * sizeof(record::SampleRecord)) / kPageBytes + 1;

constinit record::Timeline g_timeline;
constinit record::Sample g_last = {};
constinit bool g_kept[kPages] = {};
constinit Bytes g_kept_bytes = 0;  // of the record, the header's pages among them
constinit uint32_t g_moves = 0;
constinit bool g_has_room = false;

uintptr_t start_of_pages() noexcept {
  return reinterpret_cast<uintptr_t>(session::view().timeline);
}

bool keep(uintptr_t address, size_t size) noexcept {
  const Bytes before = resident::kept_bytes();
  const bool kept = resident::keep(reinterpret_cast<const void*>(address), size);
  g_kept_bytes += resident::kept_bytes() - before;
  return kept;
}

// A record is at most on two pages.
bool may_write(const void* address, size_t size) noexcept {
  const uintptr_t from = reinterpret_cast<uintptr_t>(address) - start_of_pages();
  for (size_t page = from / kPageBytes; page <= (from + size - 1) / kPageBytes; ++page) {
    if (g_kept[page]) continue;
    if (!g_has_room) return false;
    g_kept[page] = keep(start_of_pages() + page * kPageBytes, kPageBytes);
  }
  return true;
}

// The header and the ring of all looks, and what was kept before by a thread of this process.
void keep_pages() noexcept {
  g_kept_bytes = 0;
  keep(reinterpret_cast<uintptr_t>(session::file()), sizeof(record::FlightHeader));
  if (session::view().timeline == nullptr) return;
  constexpr size_t kLooks = record::kRings[0].count * sizeof(record::SampleRecord) / kPageBytes;
  static_assert(record::kRings[0].count * sizeof(record::SampleRecord) % kPageBytes == 0);
  for (size_t page = 0; page < kPages; ++page) {
    if (page < kLooks || g_kept[page]) {
      g_kept[page] = keep(start_of_pages() + page * kPageBytes, kPageBytes);
    }
  }
}

// A child's record became a file at the same address: its pages are others.
void look_for_move() noexcept {
  const uint32_t moves = session::moves();
  if (moves == g_moves) return;
  g_moves = moves;
  resident::lost(g_kept_bytes);
  keep_pages();
}

record::Sample sample_of(const Look& look) noexcept {
  record::Sample sample{};
  const probe::Level* level = probe::binding(look.judgement.reading, look.judgement.headroom);
  sample.needed_bytes = look::needed(look);
  sample.reclaimable_bytes = level != nullptr ? level->reclaimable : -1;
  sample.limit_bytes = level != nullptr ? level->limit : kNoLimit;
  sample.headroom_bytes = look.headroom;
  sample.own_anonymous_bytes = look.own;
  sample.in_flight_bytes = look.in_flight;
  return sample;
}

}  // namespace

void begin(bool is_other) noexcept {
  if (is_other) {
    g_timeline = {};
    g_last = {};
    for (bool& kept : g_kept) kept = false;
  }
  g_moves = session::moves();
  keep_pages();
}

bool add(const Look& look, bool changed) noexcept {
  look_for_move();
  if (changed) g_last = sample_of(look);
  const record::FlightHeader& header = session::file()->header;
  if (!changed &&
      look.now_ns - header.last_sample_ns.load(std::memory_order_relaxed) < kQuietEveryNs) {
    return false;
  }
  g_last.at_monotonic_ns = look.now_ns;
  g_last.pending_bytes = gate.pending();
  g_last.spill_bytes = spill::in_file();
  g_last.live_sampled_bytes = header.live_sampled_bytes.load(std::memory_order_relaxed);
  g_last.refusals = header.refusals.load(std::memory_order_relaxed);
  g_has_room = look.headroom > look::kRoomToOpen;
  g_timeline.add(session::view(), g_last, may_write);
  return true;
}

}  // namespace oomguard::budget::timeline
