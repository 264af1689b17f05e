// The environment of a child without the shim: our entry of LD_PRELOAD and OOMGUARD_RUN_PROGRAM are
// left out, everything else is the caller's own strings. The other OOMGUARD_* variables stay: they
// are a person's settings, and mean nothing to a program without the shim.
//
// The new array lives in memory that the caller provides, because it must be made in a child of
// vfork, which shares the parent's memory: nothing of the parent's is written.
// Thread-safety: no state. Callable from a hook, and between vfork and exec: yes.
#pragma once

#include <cstddef>
#include <string_view>

namespace oomguard::children {

// The last path component under which the library is known anywhere.
inline constexpr std::string_view kLibraryName = "liboomguard.so";

// Whether one entry of LD_PRELOAD means the library at `library_path` ("" = only known by name).
[[nodiscard]] bool names_library(std::string_view entry, std::string_view library_path) noexcept;

// Bytes that `without_library` needs; 0 where `envp` does not preload the library (or is nullptr).
[[nodiscard]] size_t scratch_bytes(const char* const* envp, std::string_view library_path) noexcept;

// Builds the array in `scratch`. Returns `envp` itself where another thread made the environment
// larger in the meantime, so that it does not fit any more.
[[nodiscard]] char* const* without_library(char* const* envp, std::string_view library_path,
                                           void* scratch, size_t bytes) noexcept;

// The value of `name` in `envp`, nullptr where it is not set.
[[nodiscard]] const char* find_variable(const char* const* envp, std::string_view name) noexcept;

}  // namespace oomguard::children
