#include "collector/probe/killers.h"

#include <dirent.h>

#include "collector/probe/process.h"
#include "collector/probe/syscall.h"

namespace oomguard::probe {
namespace {

struct Known {
  const char* comm;
  int permille;  // of MemTotal
  Bytes bytes;   // or a fixed line
};
constexpr Known kKnown[] = {
    {"earlyoom", 100, 0}, {"nohang", 50, 0},      {"systemd-oomd", 100, 0},
    {"oomd", 100, 0},     {"kubelet", 0, 100 << 20},
};

struct Entry {  // struct linux_dirent64
  uint64_t inode;
  int64_t offset;
  unsigned short length;
  unsigned char type;
  char name[1];
};

bool equal(const char* left, const char* right) {
  while (*left != '\0' && *left == *right) {
    ++left;
    ++right;
  }
  return *left == *right;
}

// The number that a directory of /proc is named by; 0 where it is none.
int pid_of(const char* name) {
  int pid = 0;
  for (; *name != '\0'; ++name) {
    if (*name < '0' || *name > '9' || pid > 100'000'000) return 0;
    pid = pid * 10 + (*name - '0');
  }
  return pid;
}

}  // namespace

Bytes killer_line(const char* comm, Bytes mem_total) {
  for (const Known& known : kKnown) {
    if (equal(comm, known.comm)) return known.bytes + mem_total / 1000 * known.permille;
  }
  return 0;
}

Bytes find_killer_line(Bytes mem_total) {
  const int fd = sys::open("/proc", O_RDONLY | O_DIRECTORY);
  if (fd < 0) return 0;
  Bytes line = 0;
  alignas(8) char buffer[1024];
  long got;
  while ((got = sys::call(SYS_getdents64, fd, sys::as_arg(buffer), sizeof buffer)) > 0) {
    for (long at = 0; at < got;) {
      const auto* entry = reinterpret_cast<const Entry*>(buffer + at);
      at += entry->length;
      ProcessStatus status;
      const int pid = pid_of(entry->name);
      if (pid == 0 || !read_status(pid, &status)) continue;
      const Bytes its_line = killer_line(status.comm, mem_total);
      if (its_line > line) line = its_line;
    }
  }
  sys::close(fd);
  return line;
}

}  // namespace oomguard::probe
