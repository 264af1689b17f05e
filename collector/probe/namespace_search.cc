#include "collector/probe/namespace_search.h"

#include <dirent.h>

#include "collector/probe/kernel_text.h"
#include "collector/probe/paths.h"

namespace oomguard::probe {
namespace {

constexpr int kMaxDepth = 8;
constexpr int kMaxDirectories = 4096;

struct Search {
  char* directory;
  const char* suffix;
  int pid;
  int directories_left;
};

// A record of getdents64, whose layout libc's headers give only under a feature macro.
struct Entry {
  uint64_t inode;
  int64_t next;
  uint16_t size;
  uint8_t type;
  char name[1];
};

[[gnu::noinline]] bool lists_pid(const char* directory, int pid) {
  const OneShot file({directory, "cgroup.procs"});
  if (!file) return false;
  CharStream in(file.fd());
  int64_t value = 0;
  for (int c = in.next(); c != -1; c = in.next()) {
    if (c >= '0' && c <= '9' && value <= INT32_MAX) {
      value = value * 10 + (c - '0');
    } else {
      if (value == pid) return true;
      value = 0;
    }
  }
  return false;
}

bool descend(Search& search, int depth);

bool try_child(Search& search, const char* name, int depth) {
  const size_t length = length_of(search.directory);
  if (append_text(search.directory, kMaxPath, "/") &&
      append_text(search.directory, kMaxPath, name) && descend(search, depth)) {
    return true;
  }
  search.directory[length] = '\0';
  return false;
}

bool is_child(const Entry& entry) {
  const char* name = entry.name;
  return entry.type == DT_DIR && !same_text(name, ".") && !same_text(name, "..");
}

bool descend(Search& search, int depth) {
  if (depth == 0) {
    const size_t length = length_of(search.directory);
    if (append_text(search.directory, kMaxPath, search.suffix) &&
        lists_pid(search.directory, search.pid)) {
      return true;
    }
    search.directory[length] = '\0';
    return false;
  }
  if (--search.directories_left < 0) return false;
  const int fd = sys::open(search.directory, O_RDONLY | O_DIRECTORY);
  if (fd < 0) return false;
  alignas(Entry) char buffer[512];
  bool found = false;
  long got;
  while (!found &&
         (got = sys::call(SYS_getdents64, fd, sys::as_arg(buffer), sizeof(buffer))) > 0) {
    for (long at = 0; at < got && !found;) {
      const Entry& entry = *reinterpret_cast<const Entry*>(buffer + at);
      found = is_child(entry) && try_child(search, entry.name, depth - 1);
      at += entry.size;
    }
  }
  sys::close(fd);
  return found;
}

}  // namespace

bool find_process_group(char* directory, int depth, const char* suffix, int pid) {
  if (depth < 0 || depth > kMaxDepth || has_parent_component(suffix)) return false;
  Search search{directory, suffix, pid, kMaxDirectories};
  return descend(search, depth);
}

}  // namespace oomguard::probe
