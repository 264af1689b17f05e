// What a kernel executes, in its session's file: the cell's number and first lines while it runs,
// and by what name the interpreter knows the newest cells' code. For whoever asks after a death.
//
// Thread-safety: one thread's at a time (the interpreter's lock). Callable from a hook: yes.
#pragma once

#include <cstdint>

#include "collector/record/flight.h"

namespace oomguard::cells {

// The cell of that number begins; 0: it has ended. Secrets in `source` are masked.
void begin(record::FlightHeader* header, uint32_t number, const char* source) noexcept;
// `file` stands for the code of that cell.
void name(record::FlightHeader* header, uint32_t number, const char* file) noexcept;

}  // namespace oomguard::cells
