#include "tools/report/pod.h"

#include <fcntl.h>
#include <unistd.h>

#include "collector/verdict/evidence.h"

namespace oomguard::tools {
namespace {

// A log that cannot be written to is nobody's fault here.
void append(const std::string& path, int flags, const std::string& line) {
  constexpr int kFlags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  const int fd = ::open(path.c_str(), kFlags | flags);
  if (fd < 0) return;
  [[maybe_unused]] const ssize_t written = ::write(fd, line.data(), line.size());
  ::close(fd);
}

}  // namespace

void put_in_termination_log(const std::string& line) {
  append(verdict::kTerminationLog, O_NOFOLLOW, line);
}

void put_in_log_of(pid_t process, const std::string& line) {
  if (process <= 0 || !verdict::is_pod()) return;
  append("/proc/" + std::to_string(process) + "/fd/2", 0, line);
}

}  // namespace oomguard::tools
