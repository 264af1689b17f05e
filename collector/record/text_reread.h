// The warning that mapped files are read over and over, as one line.
// Allocation-free and pure. Callable from a hook: yes.
#pragma once

#include <cstddef>

#include "collector/record/flight.h"

namespace oomguard::record {

// Nothing where header.reread.times is 0. Returns the length written, whole or not at all.
size_t render_reread(const FlightHeader& header, char* out, size_t capacity);

}  // namespace oomguard::record
