// What a context takes of a card for itself, and what ends with it. Callable from the GPU hooks.
#pragma once

#include <cstdint>

namespace oomguard::gpu {

// The context is gone, and with it all that was allocated in it.
void end_of_context(uint64_t context) noexcept;

// Contexts grow with the code that is loaded: what the card says that this process has, beyond what
// the ledger knows, is charged anew where the last look is a second old. Only where a budget is
// configured and the card tells (shim/gpu/nvml.h).
void measure_contexts_if_due(int device) noexcept;

}  // namespace oomguard::gpu
