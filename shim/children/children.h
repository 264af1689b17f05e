// Children that are not Python do not get the shim: the answer that the exec hooks ask for.
//
// Thread-safety: `set_library_path` once at start, before other threads; the rest is pure apart
// from reading files. Callable from a hook, and between vfork and exec: yes.
#pragma once

#include <cstddef>

#include "collector/options/options.h"
#include "shim/children/inspect.h"

namespace oomguard::children {

// Path of the loaded liboomguard.so as the link map has it. Kept by pointer: it must stay valid.
// Also remembers which process this is (scratch.h). Until then, and so where oomguard is switched
// off, nothing is dropped.
void set_library_path(const char* path) noexcept;
[[nodiscard]] const char* library_path() noexcept;

// Bytes of scratch memory that the environment without the shim takes (environment.h), or 0: `envp`
// goes to the child as it is, because it does not preload us or because the child keeps the shim.
[[nodiscard]] size_t drop_bytes(options::Children mode, const Target& target,
                                const char* const* envp) noexcept;

// `envp` without the shim, built in `scratch` of that many bytes.
[[nodiscard]] char* const* drop(char* const* envp, void* scratch, size_t bytes) noexcept;

}  // namespace oomguard::children
