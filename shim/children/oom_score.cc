#include "shim/children/oom_score.h"

#include <fcntl.h>
#include <string.h>

#include <atomic>

#include "collector/probe/syscall.h"

namespace oomguard::children {
namespace {

constinit std::atomic<int> g_child_score{kNoScore};  // relaxed: written before there are children

size_t append_number(int value, char* out) noexcept {
  char digits[12];
  size_t count = 0;
  size_t used = 0;
  if (value < 0) out[used++] = '-';
  for (int rest = value < 0 ? -value : value; count == 0 || rest != 0; rest /= 10) {
    digits[count++] = static_cast<char>('0' + rest % 10);
  }
  while (count > 0) out[used++] = digits[--count];
  return used;
}

int open_score(pid_t pid, int flags) noexcept {
  char path[48] = "/proc/self/oom_score_adj";
  if (pid > 0) {
    size_t used = sizeof("/proc/") - 1;
    used += append_number(pid, path + used);
    memcpy(path + used, "/oom_score_adj", sizeof("/oom_score_adj"));
  }
  return static_cast<int>(
      sys::call(SYS_openat, AT_FDCWD, sys::as_arg(path), flags | O_CLOEXEC));
}

int read_score(int fd) noexcept {
  char text[16];
  const long got = sys::pread(fd, text, sizeof text, 0);
  long at = 0;
  const bool negative = got > 0 && text[0] == '-';
  if (negative) ++at;
  int value = 0;
  const long first = at;
  for (; at < got && text[at] >= '0' && text[at] <= '9' && value < 10000; ++at) {
    value = value * 10 + (text[at] - '0');
  }
  if (at <= first) return kNoScore;
  return negative ? -value : value;
}

}  // namespace

int own_score() noexcept {
  const int fd = open_score(0, O_RDONLY);
  if (fd < 0) return kNoScore;
  const int score = read_score(fd);
  sys::close(fd);
  return score;
}

void set_child_score(int score) noexcept {
  g_child_score.store(score, std::memory_order_relaxed);
}

int child_score() noexcept { return g_child_score.load(std::memory_order_relaxed); }

void make_first_victim(pid_t pid) noexcept {
  const int wanted = child_score();
  if (wanted == kNoScore) return;
  const int fd = open_score(pid, O_RDWR);
  if (fd < 0) return;
  const int score = read_score(fd);
  if (score != kNoScore && score < wanted) {
    char text[12];
    sys::write(fd, text, append_number(wanted, text));
  }
  sys::close(fd);
}

}  // namespace oomguard::children
