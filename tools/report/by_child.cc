#include "tools/report/by_child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

namespace oomguard::tools {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kLooks = 20;  // for the end of a child that was killed
constexpr timespec kBetweenLooks{0, 5'000'000};

// Whoever reads this process's output would wait for a child that still had it.
[[noreturn]] void work(const std::function<std::string()>& make, int to) noexcept {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::dup2(to, 0);
  if (::syscall(436 /*close_range*/, 1, ~0U, 0) != 0) {
    for (int fd = 1; fd < 1024; ++fd) ::close(fd);
  }
  const std::string text = make();
  for (size_t done = 0; done < text.size();) {
    const ssize_t written = ::write(0, text.data() + done, text.size() - done);
    if (written <= 0) break;
    done += static_cast<size_t>(written);
  }
  ::_exit(0);
}

// false where that is not all by `until`.
bool read_until(int from, Clock::time_point until, std::string* text) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd one{from, POLLIN, 0};
    const int ready = ::poll(&one, 1, static_cast<int>(std::max<int64_t>(left, 0)));
    if (ready == 0) return false;
    char part[4096];
    const ssize_t got = ready > 0 ? ::read(from, part, sizeof part) : -1;
    if (got == 0) return true;
    if (got > 0) text->append(part, static_cast<size_t>(got));
    if (got < 0 && errno != EINTR) return false;
  }
}

}  // namespace

std::string made_by_child(const std::function<std::string()>& make,
                          std::chrono::milliseconds limit) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return "";
  const pid_t pid = ::fork();
  if (pid == 0) work(make, ends[1]);
  ::close(ends[1]);
  std::string text;
  const bool whole = pid > 0 && read_until(ends[0], Clock::now() + limit, &text);
  ::close(ends[0]);
  if (pid < 0) return "";
  ::kill(pid, SIGKILL);
  // Never a wait that blocks: a child in a read that does not return is not gone by that.
  for (int i = 0; i < kLooks && ::waitpid(pid, nullptr, WNOHANG) == 0; ++i) {
    ::nanosleep(&kBetweenLooks, nullptr);
  }
  return whole ? text : "";
}

}  // namespace oomguard::tools
