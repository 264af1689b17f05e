#include "tools/launch/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "tools/command/exit_status.h"
#include "tools/launch/witness.h"

namespace oomguard::tools {
namespace {

std::vector<char*> pointers_to(std::vector<std::string>* texts) {
  std::vector<char*> pointers;
  for (std::string& text : *texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// What is taken up by sigwaitinfo. Not in it: faults of our own, signals that nobody can block, and
// those that stop a process (blocked, Ctrl-Z would stop the child alone).
sigset_t watched_signals() {
  sigset_t set;
  sigfillset(&set);
  for (int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGPIPE, SIGTSTP,
                  SIGTTIN, SIGTTOU}) {
    sigdelset(&set, own);
  }
  return set;
}

struct Child {
  const char* path;
  char** arguments;
  char** environment;
  sigset_t mask;
  struct sigaction on_child_end;
  int error_fd;
};

[[noreturn]] void become(const Child& child, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kFailed);  // it died before the call above
  ::sigaction(SIGCHLD, &child.on_child_end, nullptr);
  ::sigprocmask(SIG_SETMASK, &child.mask, nullptr);
  // execvpe with a slash in the path: as execve, and /bin/sh for a script without a first line.
  ::execvpe(child.path, child.arguments, child.environment);
  const int error = errno;
  const ssize_t told = ::write(child.error_fd, &error, sizeof(error));
  ::_exit(told == sizeof(error) ? kNotExecutable : kFailed);
}

// 0 once the child has become the program, else its errno.
int wait_for_start(int fd) {
  int error = 0;
  ssize_t got;
  do {
    got = ::read(fd, &error, sizeof(error));
  } while (got < 0 && errno == EINTR);
  return got == sizeof(error) ? error : 0;
}

Passed passed_of(const siginfo_t& info) {
  Passed passed{info.si_signo, 0, ""};
  if (info.si_code != SI_USER && info.si_code != SI_QUEUE && info.si_code != SI_TKILL)
    return passed;
  passed.sender = info.si_pid;
  std::ifstream name("/proc/" + std::to_string(info.si_pid) + "/comm");
  std::getline(name, passed.name);
  return passed;
}

// Waits for every child that has ended. True once `pid` has.
bool reap(pid_t pid, GroupWitness* witness, int* status) {
  for (;;) {
    int its_status = 0;
    const pid_t ended = ::waitpid(-1, &its_status, WNOHANG);
    if (ended < 0 && errno == EINTR) continue;
    if (ended < 0) return true;  // somebody else has its status
    if (ended == 0) return false;
    if (ended == pid) {
      *status = its_status;
      return true;
    }
    witness->ended(ended);
  }
}

Ended wait_for_end(pid_t pid, const sigset_t& watched, GroupWitness* witness) {
  Ended ended{pid, 0, {}};
  while (!reap(pid, witness, &ended.wait_status)) {
    siginfo_t info{};
    const int number = ::sigwaitinfo(&watched, &info);
    if (number <= 0 || number == SIGCHLD) continue;
    ended.passed = passed_of(info);
    const bool of_group = witness->saw(info);
    if (!of_group || ::getpgid(pid) != ::getpgrp()) ::kill(pid, number);
  }
  return ended;
}

Error start_error(const std::string& path, int error) {
  return Error{path + ": " + strerror(error), error == ENOENT ? kNotFound : kNotExecutable};
}

}  // namespace

Result<Ended> supervise(const std::string& path, const std::vector<std::string>& arguments,
                        std::vector<std::string> environment, const std::string& pid_variable,
                        bool subreaper) {
  sigset_t mask;
  const sigset_t watched = watched_signals();
  ::sigprocmask(SIG_BLOCK, &watched, &mask);
  GroupWitness witness(watched);
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return Error{std::string("pipe: ") + strerror(errno)};
  std::vector<std::string> argument_texts = arguments;
  std::vector<char*> argument_pointers = pointers_to(&argument_texts);
  environment.push_back(pid_variable + "=" + std::string(20, '\0'));
  std::vector<char*> environment_pointers = pointers_to(&environment);
  Child child{path.c_str(), argument_pointers.data(), environment_pointers.data(), mask, {},
              pipe_fds[1]};
  // An ignored SIGCHLD, inherited, would take the exit status away from us; the child gets it back.
  struct sigaction plain{};
  plain.sa_handler = SIG_DFL;
  ::sigaction(SIGCHLD, &plain, &child.on_child_end);
  if (subreaper) ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const pid_t self = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    char* number = environment.back().data() + pid_variable.size() + 1;
    snprintf(number, 20, "%d", static_cast<int>(::getpid()));
    become(child, self);
  }
  const int fork_error = errno;
  ::close(pipe_fds[1]);
  const int error = pid > 0 ? wait_for_start(pipe_fds[0]) : 0;
  ::close(pipe_fds[0]);
  if (pid < 0) return Error{std::string("fork: ") + strerror(fork_error)};
  const Ended ended = wait_for_end(pid, watched, &witness);
  if (error != 0) return start_error(path, error);
  return ended;
}

}  // namespace oomguard::tools
