// Makes lent pages private memory again, before a fork: what holds nothing becomes absent, what holds
// something is copied back. Thread-safety: from the raw thread only.
#pragma once

#include "shim/spill/store.h"

namespace oomguard::spill {

// Stops the other threads for it. False: they could not all be stopped, the disk could not be read, or
// memory could not be mapped; every page then holds what it held, on either side.
[[nodiscard]] bool give_back(Store& store) noexcept;

}  // namespace oomguard::spill
