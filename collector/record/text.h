// The report as a person reads it, from one RefusalRecord: the same words in the cell, on stderr
// and in `oomguard report`. Allocation-free, so that the shim can render it in the moment of need.
// Callable from a hook: yes, but meant for the moment an exception surfaces. Pure.
#pragma once

#include <cstddef>

#include "collector/record/flight.h"

namespace oomguard::record {

enum class Audience {
  kCell,    // "oomguard stopped this cell ...", at most 12 lines, no vocabulary of ours
  kScript,  // "oomguard stopped this program ..."
  kFull,    // kScript's lines, then every number: needed, reclaimable, in flight, pending, reserve,
            // every level, ten blocks, neighbours
};

// Renders whole lines; a report that does not fit ends at a line's end. Returns the length written
// (without a terminating NUL; `out` is NUL-terminated where capacity allows).
size_t render(const FlightHeader& header, const RefusalRecord& refusal, Audience audience,
              char* out, size_t capacity);

// One line for a Python exception's note: what was refused, used of limit, which limit, how to see
// the report.
size_t render_note(const FlightHeader& header, const RefusalRecord& refusal, char* out,
                   size_t capacity);

}  // namespace oomguard::record
