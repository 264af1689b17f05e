#include "tools/launch/witness.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <fstream>
#include <string>

namespace oomguard::tools {
namespace {

uint64_t bit_of(int number) { return uint64_t{1} << (number - 1); }

[[noreturn]] void wait_blocked(pid_t parent) {
  sigset_t all;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  while (::getppid() == parent) ::pause();
  ::_exit(0);
}

}  // namespace

GroupWitness::GroupWitness(const sigset_t& watched) {
  for (int number = 1; number <= 64; ++number) {
    if (sigismember(&watched, number) == 1) watched_ |= bit_of(number);
  }
  start();
}

GroupWitness::~GroupWitness() { end(); }

void GroupWitness::start() {
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) wait_blocked(parent);
}

void GroupWitness::end() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

uint64_t GroupWitness::pending() const {
  std::ifstream file("/proc/" + std::to_string(pid_) + "/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("ShdPnd:")) return std::stoull(line.substr(7), nullptr, 16);
  }
  return 0;
}

void GroupWitness::ended(pid_t pid) {
  if (pid == pid_) pid_ = -1;
}

bool GroupWitness::saw(const siginfo_t& info) {
  if (pid_ <= 0) return info.si_code == SI_KERNEL;
  const uint64_t bit = bit_of(info.si_signo);
  if ((seen_ & bit) != 0) {
    seen_ &= ~bit;
    return true;
  }
  // The kernel signals the members of a group one after the other.
  const timespec moment{0, 2'000'000};
  ::nanosleep(&moment, nullptr);
  const uint64_t there = pending() & watched_;
  if ((there & bit) == 0) return false;
  seen_ = there & ~bit;
  end();
  start();
  return true;
}

}  // namespace oomguard::tools
