// Children first: /proc/PID/oom_score_adj of what a guarded program starts is raised, so that the
// kernel, when it has to end somebody after all, takes a worker and not the program with
// everybody's work in it. Never lowered; a value that is higher already stays.
//
// Thread-safety: set_child_score once at start, the rest in any thread. Callable from a hook, and
// between vfork and exec (vfork's child has a value of its own): yes. Fails silently: it is a wish.
#pragma once

#include <sys/types.h>

namespace oomguard::children {

inline constexpr int kNoScore = -2000;  // the kernel's values go from -1000 to 1000

// What the children of a process get that has `own`.
[[nodiscard]] constexpr int raised(int own) noexcept {
  constexpr int kStep = 500;  // thousandths of the limit: a child with a quarter of it goes first
  return own + kStep < 1000 ? own + kStep : 1000;
}

// Of this process; kNoScore where it cannot be read.
[[nodiscard]] int own_score() noexcept;

// What children get from now on; until then nothing is written.
void set_child_score(int score) noexcept;
[[nodiscard]] int child_score() noexcept;

// In a child. `pid` 0: this process.
void make_first_victim(pid_t pid) noexcept;

}  // namespace oomguard::children
