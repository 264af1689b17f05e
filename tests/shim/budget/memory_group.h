// A memory cgroup of a test's own: a child of the group that this process is in, with a limit.
//
// Touches no group that it did not make. Where none can be made `ready()` is false and `reason()`
// says why, for a skip.
#pragma once

#include <unistd.h>

#include <fstream>
#include <string>

#include "tests/shim/budget/harness.h"

namespace oomguard::test {

class MemoryGroup {
 public:
  explicit MemoryGroup(Bytes limit) {
    if (!find_parent()) return;
    path_ = parent_ + "/oomguard-unit-" + std::to_string(getpid());
    if (mkdir(path_.c_str(), 0755) != 0) {
      reason_ = "no memory group can be made in " + parent_ + ": " + strerror(errno);
      return;
    }
    made_ = true;
    if (!write(is_v2_ ? "memory.max" : "memory.limit_in_bytes", std::to_string(limit))) {
      reason_ = "the limit of " + path_ + " cannot be set";
    }
  }
  ~MemoryGroup() {
    // A process that has just been waited for may count as a member for a moment.
    for (int i = 0; made_ && i < 100 && rmdir(path_.c_str()) != 0; ++i) usleep(20'000);
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;

  bool ready() const { return reason_.empty(); }
  const std::string& reason() const { return reason_; }
  // Moves the calling process. Memory that it holds stays charged where it was touched.
  bool join() const { return write("cgroup.procs", "0"); }
  bool set_limit(Bytes limit) const {
    return write(is_v2_ ? "memory.max" : "memory.limit_in_bytes", std::to_string(limit));
  }
  Bytes usage() const { return read(is_v2_ ? "memory.current" : "memory.usage_in_bytes"); }

 private:
  bool write(const char* name, const std::string& value) const {
    std::ofstream file(path_ + "/" + name);
    file << value << std::flush;
    return file.good();
  }
  Bytes read(const char* name) const {
    Bytes value = -1;
    std::ifstream(path_ + "/" + name) >> value;
    return value;
  }

  // The hierarchy with the memory controller, and this process's group in it.
  bool find_parent() {
    std::ifstream groups("/proc/self/cgroup");
    std::string v1;
    std::string v2;
    for (std::string line; std::getline(groups, line);) {
      const size_t at = line.find(":memory:");
      if (at != std::string::npos) v1 = line.substr(at + 8);
      if (line.rfind("0::", 0) == 0) v2 = line.substr(3);
    }
    is_v2_ = v1.empty();
    std::ifstream mounts("/proc/self/mounts");
    for (std::string device, point, kind, options, rest;
         mounts >> device >> point >> kind >> options && std::getline(mounts, rest);) {
      const bool wanted = is_v2_ ? kind == "cgroup2"
                                 : kind == "cgroup" &&
                                       ("," + options + ",").find(",memory,") != std::string::npos;
      if (!wanted) continue;
      parent_ = point + (is_v2_ ? v2 : v1);
      if (access(parent_.c_str(), F_OK) != 0) parent_ = point;
      break;
    }
    if (parent_.empty()) reason_ = "no cgroup hierarchy with a memory controller is mounted";
    return reason_.empty();
  }

  bool is_v2_ = false;
  bool made_ = false;
  std::string parent_;
  std::string path_;
  std::string reason_;
};

}  // namespace oomguard::test
