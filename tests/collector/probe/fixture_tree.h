// A /proc and /sys/fs/cgroup of the test's own making, under a temporary directory that goes away
// with the object. Texts have the form that the kernel gives them.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "collector/probe/probe.h"

namespace oomguard::probe {

inline constexpr Bytes kMiB = 1024 * 1024;

class FixtureTree {
 public:
  FixtureTree() {
    std::string name = (std::filesystem::temp_directory_path() / "probe_test.XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    root_ = name;
    meminfo(1000 * kMiB, 600 * kMiB, 0);
    write("/proc/self/statm", "2000 900 500 10 0 700 0\n");
    write("/proc/self/status", "Name:\tpython\nRssAnon:\t 1600 kB\nRssShmem:\t 40 kB\n");
  }
  ~FixtureTree() { std::filesystem::remove_all(root_); }

  const char* root() const { return root_.c_str(); }
  std::string path(const std::string& name) const { return root_ + name; }

  // In place: a descriptor that is open sees the new text, as with the kernel's files.
  void write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
    std::ofstream(path(name), std::ios::binary) << text;
  }
  void remove(const std::string& name) { std::filesystem::remove_all(path(name)); }

  void meminfo(Bytes total, Bytes available, Bytes swap_free) {
    write("/proc/meminfo", "MemTotal:       " + std::to_string(total / 1024) +
                               " kB\nMemFree:        1 kB\nMemAvailable:   " +
                               std::to_string(available / 1024) + " kB\nBuffers:  1 kB\n" +
                               "SwapTotal:      0 kB\nSwapFree:       " +
                               std::to_string(swap_free / 1024) + " kB\n");
  }

  void mounts(const std::string& lines) {
    write("/proc/self/mountinfo",
          "22 29 0:20 / /proc rw,relatime - proc proc rw\n29 1 0:24 / / rw - overlay overlay rw\n" +
              lines);
  }
  void v2_mount(const std::string& mount_root = "/") {
    mounts("33 23 0:30 " + mount_root + " /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n");
  }
  void v1_mount(const std::string& mount_root = "/") {
    mounts("34 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n35 31 0:32 " + mount_root +
           " /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n");
  }
  void cgroup(const std::string& text) { write("/proc/self/cgroup", text); }

  void v2_group(const std::string& group, const std::string& max, Bytes current,
                const std::string& high = "max") {
    const std::string directory = "/sys/fs/cgroup" + group;
    write(directory + "/cgroup.procs", "");
    write(directory + "/cgroup.type", "domain\n");
    write(directory + "/memory.max", max + "\n");
    write(directory + "/memory.high", high + "\n");
    write(directory + "/memory.current", std::to_string(current) + "\n");
    stat_v2(group, 0, 0);
  }
  void v2_root() { write("/sys/fs/cgroup/cgroup.procs", ""); }
  // This process is in /p/g, which may have 100 MiB and has 60; /p has no limit.
  void v2_process_in_a_group(const std::string& high = "max") {
    v2_mount();
    cgroup("0::/p/g\n");
    v2_root();
    v2_group("/p", "max", 80 * kMiB);
    v2_group("/p/g", std::to_string(100 * kMiB), 60 * kMiB, high);
  }
  void stat_v2(const std::string& group, Bytes inactive, Bytes active) {
    write("/sys/fs/cgroup" + group + "/memory.stat",
          "anon 4096\nfile 0\nfile_mapped 0\ninactive_anon 1\nactive_anon 2\ninactive_file " +
              std::to_string(inactive) + "\nactive_file " + std::to_string(active) +
              "\nunevictable 0\n");
  }

  void v1_group(const std::string& group, Bytes limit, Bytes usage,
                Bytes hierarchical = 9223372036854771712) {
    const std::string directory = "/sys/fs/cgroup/memory" + group;
    write(directory + "/cgroup.procs", "");
    write(directory + "/memory.limit_in_bytes", std::to_string(limit) + "\n");
    write(directory + "/memory.usage_in_bytes", std::to_string(usage) + "\n");
    write(directory + "/memory.use_hierarchy", "1\n");
    write(directory + "/memory.stat",
          "cache 5\ninactive_file 1\nactive_file 2\nhierarchical_memory_limit " +
              std::to_string(hierarchical) + "\ntotal_cache 8\ntotal_inactive_file " +
              std::to_string(3 * kMiB) + "\ntotal_active_file " + std::to_string(4 * kMiB) + "\n");
  }

 private:
  std::string root_;
};

// The first level of a kind, or a level with limit -1 that no test expects.
inline Level level_of(const Reading& reading, LimitKind kind) {
  for (uint32_t i = 0; i < reading.level_count; ++i) {
    if (reading.levels[i].kind == kind) return reading.levels[i];
  }
  Level none{};
  none.limit = -1;
  return none;
}

inline int count_of(const Reading& reading, LimitKind kind) {
  int count = 0;
  for (uint32_t i = 0; i < reading.level_count; ++i) count += reading.levels[i].kind == kind;
  return count;
}

}  // namespace oomguard::probe
