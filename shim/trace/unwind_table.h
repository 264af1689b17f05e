// Finds what a module says about one of its functions' frames: .eh_frame_hdr has a sorted table, it
// leads to the function's description (FDE) in .eh_frame, that one to what it has in common with
// others (CIE).
//
// Thread-safety: pure but for the module's memory. Callable from a hook and from a signal handler:
// yes.
#pragma once

#include <cstdint>

#include "shim/trace/mapped_bytes.h"

namespace oomguard::trace {

struct FrameDescription {
  uint64_t code_factor;
  int64_t data_factor;
  bool is_signal_frame;  // its caller was interrupted: the address is not behind a call
  // The programs that describe the frame: the common one, then the function's own.
  uintptr_t common_start, common_end;
  uintptr_t own_start, own_end;
  uintptr_t function;  // its first address
  uint8_t encoding;    // of addresses in the programs
};

// `header`: address of the module's .eh_frame_hdr. False: no table, none for this address, or one
// that makes no sense.
[[nodiscard]] bool find_description(MappedRange& module, uintptr_t header, uintptr_t address,
                                    FrameDescription* out) noexcept;

}  // namespace oomguard::trace
