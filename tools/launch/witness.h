// Tells a signal that somebody sent to the whole process group from one to this process alone: the
// program that runs in the same group has the first already, the second has to be passed on. The
// signal itself does not say so. So a second process of the group blocks all signals and waits;
// what is pending there was sent to the group. Thread-safety: one thread. If this process ends, so
// does the witness.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <cstdint>

namespace oomguard::tools {

class GroupWitness {
 public:
  // With the signals of `watched` blocked, and before there are descriptors that it must not keep
  // open.
  explicit GroupWitness(const sigset_t& watched);
  ~GroupWitness();
  GroupWitness(const GroupWitness&) = delete;
  GroupWitness& operator=(const GroupWitness&) = delete;

  // This process has just taken that signal: was it the group's? Where there is no witness: was it
  // sent by the terminal?
  bool saw(const siginfo_t& info);

  // That child was waited for: its number may be somebody else's now.
  void ended(pid_t pid);

 private:
  void start();
  void end();
  uint64_t pending() const;

  uint64_t watched_ = 0;
  uint64_t seen_ = 0;  // there already, and still to be taken here
  pid_t pid_ = -1;
};

}  // namespace oomguard::tools
