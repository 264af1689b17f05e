#include "shim/spill/give_back.h"

#include <algorithm>

#include "collector/probe/kernel_file.h"
#include "collector/probe/mappings.h"
#include "shim/budget/ledger.h"
#include "shim/spill/candidates.h"
#include "shim/spill/private_pages.h"
#include "shim/spill/ranges.h"
#include "shim/spill/sigbus.h"
#include "shim/spill/stop.h"

namespace oomguard::spill {
namespace {

constexpr int64_t kForkStopNs = 200'000'000;
constexpr int64_t kReadNs = 10'000'000;  // what the watchdog may be busy with before the stop
// Pieces of the file, on its own multiples. Each that holds something becomes one mapping.
constexpr uint64_t kPiece = 2 * 1024 * 1024;
constexpr size_t kMostPieces = 16;

struct Piece {
  uintptr_t address;
  uint64_t offset;
  uint64_t size;
  long copy;    // where it is copied to; 0: moved, or none
  bool moved;
  Bytes data;   // bytes of it that hold something

  bool is(uintptr_t at, uint64_t file_offset, uint64_t length) const {
    return address == at && offset == file_offset && size == length;
  }
};

constinit Piece g_pieces[kMostPieces] = {};
constinit size_t g_count = 0;
constinit uintptr_t g_next = 0;  // where the next step looks for pieces first

// A piece with holes gets no huge page: it would take more memory than what it holds.
bool begin_piece(Store& store, Piece* piece, uintptr_t address, uint64_t offset,
                 uint64_t size) noexcept {
  *piece = {address, offset, size, map_as_malloc(size), false, 0};
  if (is_error(piece->copy)) return false;
  uint64_t data = 0;
  uint64_t hole = 0;
  const bool is_full = store.next_data(offset, offset + size, &data, &hole) && data == offset &&
                       hole == offset + size;
  if (!is_full) sys::call(SYS_madvise, piece->copy, static_cast<long>(size), MADV_NOHUGEPAGE);
  return true;
}

void end_piece(Piece* piece) noexcept {
  if (piece->copy > 0) sys::call(SYS_munmap, piece->copy, static_cast<long>(piece->size));
  piece->copy = 0;
}

// What holds nothing stays absent in the copy, and what was dropped since the last time becomes so.
bool read_piece(Store& store, Piece* piece) noexcept {
  if (piece->data == static_cast<Bytes>(piece->size)) {
    return store.read(piece->offset, reinterpret_cast<void*>(piece->copy), piece->size);
  }
  const uint64_t end = piece->offset + piece->size;
  piece->data = 0;
  for (uint64_t at = piece->offset; at < end;) {
    uint64_t data = end;
    uint64_t hole = end;
    if (!store.next_data(at, end, &data, &hole)) data = hole = end;
    const long there = piece->copy + static_cast<long>(at - piece->offset);
    if (data > at) sys::call(SYS_madvise, there, static_cast<long>(data - at), MADV_DONTNEED);
    if (data == end) break;
    void* to = reinterpret_cast<void*>(piece->copy + static_cast<long>(data - piece->offset));
    if (!store.read(data, to, hole - data)) return false;
    piece->data += static_cast<Bytes>(hole - data);
    at = hole;
  }
  return true;
}

// Calls put_empty(from, to) and put_piece(from, to) for the parts of the file behind a mapping,
// until one of them answers false.
template <typename PutEmpty, typename PutPiece>
bool each_part(Store& store, const probe::Mapping& mapping, PutEmpty put_empty,
               PutPiece put_piece) {
  const uint64_t end = mapping.offset + (mapping.end - mapping.start);
  for (uint64_t at = mapping.offset; at < end;) {
    uint64_t data = end;
    if (!store.next_data(at, end, &data, nullptr)) data = end;
    const uint64_t first = data == end ? end : std::max(at, data / kPiece * kPiece);
    if (first > at && !put_empty(at, first)) return false;
    if (first == end) return true;
    at = std::min(end, (first / kPiece + 1) * kPiece);
    if (!put_piece(first, at)) return false;
  }
  return true;
}

// Calls visit(mapping) for what is mapped of the file, until it answers false.
template <typename Visit>
bool each_mapping(Store& store, Visit visit) {
  const probe::OneShot maps({"/proc/thread-self", "maps"});
  if (!maps) return false;
  probe::CharStream in(maps.fd());
  probe::Mapping mapping;
  while (probe::read_mapping(in, &mapping)) {
    if (mapping.shared && store.holds(mapping) && !visit(mapping)) return false;
  }
  return true;
}

uintptr_t address_in(const probe::Mapping& mapping, uint64_t offset) {
  return mapping.start + (offset - mapping.offset);
}

// The live range that the mapping is a part of. Others: freed a moment ago, or moved by the
// program.
Range* range_of(const probe::Mapping& mapping) noexcept {
  Range* range = ranges.live_around(mapping.start, mapping.end);
  if (range == nullptr) return nullptr;
  const uintptr_t start = range->start.load(std::memory_order_relaxed);
  return mapping.offset == range->offset + (mapping.start - start) ? range : nullptr;
}

bool is_in_use(const Range& range) noexcept {
  budget::Block block;
  return call_points_into(range.start.load(), range.end.load()) ||
         (budget::ledger.find(range.block.load(), &block) && is_sleeper(block.thread_id));
}

bool put_empty(const probe::Mapping& mapping, uint64_t from, uint64_t to) noexcept {
  const uint64_t size = to - from;
  const long empty = map_as_malloc(size);
  if (is_error(empty)) {  // there is no room for addresses beside it
    return mapping.readable && mapping.writable && sleepers_unmoved() &&
           !is_error(map_private(address_in(mapping, from), size, MAP_FIXED));
  }
  protect_like(empty, size, mapping);
  if (sleepers_unmoved() && move_over(empty, size, address_in(mapping, from))) return true;
  sys::call(SYS_munmap, empty, static_cast<long>(size));
  return false;
}

bool put_piece(Store& store, const probe::Mapping& mapping, Range* range, Piece* piece) noexcept {
  if (!read_piece(store, piece)) return false;
  protect_like(piece->copy, piece->size, mapping);
  if (!sleepers_unmoved() || !move_over(piece->copy, piece->size, piece->address)) return false;
  piece->copy = 0;
  piece->moved = true;
  if (range != nullptr) {
    range->in_pieces.store(true, std::memory_order_relaxed);
    range->copied = std::max<int64_t>(0, range->copied - piece->data);
  }
  return true;
}

void begin_ranges() noexcept {
  ranges.each([](Range& range) { range.left = false; });
}

// While the threads stand: nobody frees one meanwhile.
void end_ranges() noexcept {
  ranges.each([](Range& range) {
    if (range.state.load(std::memory_order_acquire) != Range::State::kLive || range.left) return;
    range.state.store(Range::State::kReturned, std::memory_order_release);
  });
}

bool restore(Store& store, const probe::Mapping& mapping) noexcept {
  if (call_points_into(mapping.start, mapping.end)) return false;
  Range* const range = range_of(mapping);
  return each_part(
      store, mapping, [&](uint64_t from, uint64_t to) { return put_empty(mapping, from, to); },
      [&](uint64_t from, uint64_t to) {
        Piece piece;
        if (!begin_piece(store, &piece, address_in(mapping, from), from, to - from)) return false;
        const bool done = put_piece(store, mapping, range, &piece);
        end_piece(&piece);
        return done;
      });
}

// Which pieces are copied, and a first copy of them: from where the last step ended, then from the
// start.
void plan(Store& store, Bytes budget) noexcept {
  const int64_t until_ns = sys::monotonic_ns() + kReadNs;
  const uintptr_t first = g_next;
  const auto take_from = [&](uintptr_t low, uintptr_t high) {
    return each_mapping(store, [&](const probe::Mapping& mapping) {
      if (mapping.end <= low || mapping.start >= high || range_of(mapping) == nullptr) return true;
      return each_part(
          store, mapping, [](uint64_t, uint64_t) { return true; },
          [&](uint64_t from, uint64_t to) {
            const uintptr_t address = address_in(mapping, from);
            if (address < low || address >= high) return true;
            if (g_count == kMostPieces || budget < static_cast<Bytes>(to - from)) return false;
            if (g_count > 0 && sys::monotonic_ns() > until_ns) return false;
            Piece* piece = &g_pieces[g_count];
            if (!begin_piece(store, piece, address, from, to - from)) return false;
            ++g_count;
            g_next = address + 1;
            budget -= static_cast<Bytes>(to - from);
            return read_piece(store, piece);
          });
    });
  };
  if (take_from(first, UINTPTR_MAX)) take_from(0, first);
}

// While the threads stand.
void put_back(Store& store, const Survey& survey, const Pace& pace, Returned* done) noexcept {
  const int64_t until_ns = sys::monotonic_ns() + pace.stopped_ns;
  size_t mappings = survey.mappings;
  // The first part is always put back: else there would be none where looking takes long.
  const auto in_time = [&] {
    done->cut = done->moved() && sys::monotonic_ns() > until_ns;
    return !done->cut;
  };
  begin_ranges();
  const bool whole = each_mapping(store, [&](const probe::Mapping& mapping) {
    Range* range = range_of(mapping);
    if (range == nullptr) return true;
    if (is_in_use(*range)) return range->left = true;
    const auto put = [&](bool is_put) {
      if (!is_put) range->left = true;
      return is_put;
    };
    each_part(
        store, mapping,
        [&](uint64_t from, uint64_t to) {
          if (!in_time()) return put(false);
          if (!put(put_empty(mapping, from, to))) return false;
          done->emptied += static_cast<Bytes>(to - from);
          return true;
        },
        [&](uint64_t from, uint64_t to) {
          Piece* const end = g_pieces + g_count;
          Piece* const piece = std::find_if(g_pieces, end, [&](const Piece& one) {
            return one.copy != 0 && one.is(address_in(mapping, from), from, to - from);
          });
          if (!in_time()) return put(false);
          if (piece == end || mappings + 2 > survey.most_mappings) return range->left = true;
          if (!put(put_piece(store, mapping, range, piece))) return false;
          mappings += 2;
          done->copied += piece->data;
          done->emptied += static_cast<Bytes>(to - from) - piece->data;
          return true;
        });
    return !done->cut;
  });
  if (whole && sleepers_unmoved()) end_ranges();
}

}  // namespace

bool give_back_all(Store& store, bool (*fits)() noexcept) noexcept {
  begin_ranges();
  const bool done = stop_threads(kForkStopNs) && !is_answering_sigbus() && fits() &&
                    each_mapping(store, [&](const probe::Mapping& mapping) {
                      return restore(store, mapping);
                    }) &&
                    sleepers_unmoved();
  if (done) end_ranges();
  moves.fetch_add(1, std::memory_order_release);
  resume_threads();
  return done;
}

Returned give_back_some(Store& store, const Pace& pace) noexcept {
  Returned done;
  Survey survey;
  if (!survey_mappings(&survey) || survey.rings) return done;
  g_count = 0;
  if (!survey.pins) plan(store, pace.copies);
  const int64_t start_ns = sys::monotonic_ns();
  done.stopped = stop_threads(pace.stop_ns) && !is_answering_sigbus();
  if (done.stopped) put_back(store, survey, pace, &done);
  moves.fetch_add(1, std::memory_order_release);
  resume_threads();
  done.stopped_ns = sys::monotonic_ns() - start_ns;
  for (size_t i = 0; i < g_count; ++i) {
    if (g_pieces[i].moved) store.punch(g_pieces[i].offset, g_pieces[i].size);
    end_piece(&g_pieces[i]);
  }
  g_count = 0;
  return done;
}

}  // namespace oomguard::spill
