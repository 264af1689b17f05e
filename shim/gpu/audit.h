// Loads the auditor (collector/cupti), a module beside this library, where --gpu-audit asks for it.
#pragma once

namespace oomguard::gpu {

// A context was made: the first time the auditor starts, or one line on stderr says why it does
// not. Thread-safe. Callable from the GPU hooks alone: loading a module allocates and takes the
// dynamic linker's lock, which is what the option asks for; without it this is one comparison.
void audit_after_context() noexcept;

}  // namespace oomguard::gpu
