// The pieces that the short report, the note and the full report share (text.cc, text_full.cc).
// Allocation-free and pure. Callable from a hook: yes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "collector/record/flight.h"
#include "collector/record/line_buffer.h"

namespace oomguard::record {

// One unit for a whole report, so that its numbers can be compared at a glance.
struct Unit {
  int64_t bytes;
  const char* name;
};

// What the report says about one refusal, with counts that are safe to use as array bounds.
struct Facts {
  const RefusalRecord& refusal;
  const LevelRecord* limit;  // the level that refused, null where none is marked
  Unit unit;
  uint32_t levels;
  uint32_t blocks;
  uint32_t neighbours;
  uint32_t holders;
};

Facts facts_of(const RefusalRecord& refusal);

// "5.4", in the unit without its name.
void put_amount(LineBuffer* out, Unit unit, int64_t bytes);
// "5.4 GiB"; an amount too small for the unit in the next smaller one that shows it.
void put_bytes(LineBuffer* out, Unit unit, int64_t bytes);
// "container /sys/fs/cgroup/memory/x", "machine", ...
void put_limit_name(LineBuffer* out, const LevelRecord& level);
// The same for a line of a message: of a memory group's path that is longer than a line has room
// for the last part ("container …/oomguard-1").
void put_brief_limit_name(LineBuffer* out, const LevelRecord& level);
// "numpy: _multiarray_umath.so", or the file name alone where the library is not a known one.
void put_module(LineBuffer* out, const char* module, size_t capacity);

// "train.py:12 load — 4.1 GiB" for each line of code that holds much, the person's own first where
// they hold a twentieth; nothing where none is known. `shown`: at most so many.
void put_lines_of_code(LineBuffer* out, const Facts& facts, uint32_t shown);

// What of the limit cannot be taken back: usage - reclaimable, never negative.
int64_t in_use_bytes(const LevelRecord& level);
// Memory of this process that counts against a limit.
int64_t own_bytes(const RefusalRecord& refusal);
// What of the block is there, or its size where that is unknown.
int64_t held_bytes(const BlockRecord& block);

// The lines that follow the short report (Audience::kFull).
void put_numbers(LineBuffer* out, const FlightHeader& header, const Facts& facts);

// Indexes of the `count` records in descending order of what `weight` says.
template <size_t N, typename Weight>
uint32_t order_by(uint32_t (&index)[N], uint32_t count, Weight weight) {
  for (uint32_t i = 0; i < count; ++i) index[i] = i;
  std::sort(index, index + count, [&](uint32_t a, uint32_t b) { return weight(a) > weight(b); });
  return count;
}

}  // namespace oomguard::record
