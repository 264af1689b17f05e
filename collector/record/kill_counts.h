// The counters in a flight file that a death is told by (collector/probe/kill_counts.h), as long as
// its process runs. What they are after that is ending.h's.
//
// Thread-safety: one thread for a header at a time. Callable from a hook: no (opens files); from
// the raw thread: yes. Errors: what cannot be read is -1 or 0, unknown.
#pragma once

#include "collector/probe/probe.h"
#include "collector/record/flight.h"

namespace oomguard::record {

// Brings the header up to date. `machine`: the machine's counter, too, which takes longer.
void put_kill_counts(FlightHeader* header, const probe::Probe& probe, bool machine);

}  // namespace oomguard::record
