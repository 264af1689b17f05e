// What a program reads instead of the kernel's /proc/meminfo: a file in memory with the kernel's
// text, lowered to what the process may use (budget/view.h). It is put under the descriptor that
// the kernel's file was opened with, and written anew whenever its reader goes back to its start.
//
// Where anything fails the program has the kernel's own file, or the text as it was.
// Thread-safe. Callable from a hook: yes (system calls only; 6 KiB of stack).
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>

namespace oomguard::meminfo {

// A path that may lead to it. What else is called so is told apart by the file itself.
inline bool may_be_named(const char* path) noexcept {
  constexpr size_t kLength = sizeof("meminfo") - 1;
  const size_t length = strlen(path);
  return length >= kLength && memcmp(path + length - kLength, "meminfo", kLength) == 0;
}

// Whether a copy was put under this number once. Above 1024 none is written anew.
inline constexpr size_t kWords = 16;
extern std::atomic<uint64_t> copies[kWords];
extern std::atomic<bool> has_copies;

inline bool may_be_copy(int fd) noexcept {
  const unsigned word = static_cast<unsigned>(fd) / 64;
  return has_copies.load(std::memory_order_relaxed) && word < kWords &&
         (copies[word].load(std::memory_order_relaxed) >> (fd % 64) & 1) != 0;
}

// `fd` was just opened. Where it is the kernel's file, for reading alone, it becomes a copy.
void replace(int fd) noexcept;

// `fd` stands at its start, or is read from there. True where it is a copy; then it is written
// anew.
bool renew(int fd) noexcept;

}  // namespace oomguard::meminfo
