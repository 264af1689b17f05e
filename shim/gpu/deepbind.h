// RTLD_DEEPBIND has a library look names up in itself and its own dependencies first, so that its
// dlsym is libc's and what it allocates on a card is seen by nobody. Programs that use it keep
// libraries apart on purpose, so it is taken away only from a library that may bring the driver:
// one whose file has the driver's name in it. All others are opened as asked.
//
// Callable from the hook of dlopen; opens and reads the file. Thread-safe, errno is kept.
#pragma once

namespace oomguard::gpu {

// `flags` less RTLD_DEEPBIND where `path` is such a library.
[[nodiscard]] int without_deepbind(const char* path, int flags) noexcept;

}  // namespace oomguard::gpu
