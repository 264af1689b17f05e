#include "collector/probe/kill_counts.h"

#include <errno.h>

#include "collector/probe/kernel_text.h"

namespace oomguard::probe {
namespace {

// Not every kernel counts in failcnt (6.18 was seen at 0 after a kill). What the group used at most
// came within what a CPU charges ahead, where its limit was hit.
[[gnu::noinline]] int64_t read_v1_hits(const char* directory) {
  constexpr Bytes kChargedAhead = Bytes{1} << 20;
  Bytes turned_down = 0;
  Bytes most = 0;
  Bytes limit = 0;
  if (read_single_once({directory, "memory.failcnt"}, &turned_down) != 0 ||
      read_single_once({directory, "memory.max_usage_in_bytes"}, &most) != 0 ||
      read_single_once({directory, "memory.limit_in_bytes"}, &limit) != 0) {
    return -1;
  }
  return turned_down + (most >= limit - kChargedAhead ? 1 : 0);
}

// Not inlined: each has a buffer of 1 KiB on a small stack.
[[gnu::noinline]] KillCounts read_v1(const char* directory) {
  KillCounts counts;
  KeyedValue wanted[] = {{"oom_kill"}};
  if (read_keyed_once({directory, "memory.oom_control"}, wanted, 1) == 0 && wanted[0].found) {
    counts.kills = wanted[0].value;
  }
  counts.hits = read_v1_hits(directory);
  return counts;
}

[[gnu::noinline]] KillCounts read_v2(const char* directory, bool innermost) {
  KillCounts counts;
  KeyedValue wanted[] = {{"oom_kill"}, {"oom"}, {"oom_group_kill"}};
  int error = read_keyed_once({directory, "memory.events.local"}, wanted, 3);
  if (error == -ENOENT && innermost)
    error = read_keyed_once({directory, "memory.events"}, wanted, 3);
  if (error != 0) return counts;
  if (wanted[0].found) counts.kills = wanted[0].value;
  if (wanted[1].found) counts.hits = wanted[1].value;
  if (wanted[2].found) counts.group_kills = wanted[2].value;
  return counts;
}

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

uint64_t key_of(PathRef path) {
  char joined[kMaxPath];
  struct stat status;
  if (!join_path(path, joined, sizeof joined)) return 0;
  if (sys::call(SYS_newfstatat, AT_FDCWD, sys::as_arg(joined), sys::as_arg(&status), 0) != 0)
    return 0;
  return file_key(status);
}

}  // namespace

KillCounts read_kill_counts(const char* directory, LimitKind kind, bool innermost) {
  return kind == LimitKind::kCgroupV1 ? read_v1(directory) : read_v2(directory, innermost);
}

bool read_group_kills(const Probe& probe, uint32_t index, GroupKills* out) {
  const State& state = probe.state();
  TableReader table(probe.state());
  if (index >= table->count) return false;
  const Group& group = table->groups[index];
  out->path = group.path + state.root_length;
  out->key = group.key;
  out->kind = group.kind;
  out->limit = group.limit.load(std::memory_order_relaxed);
  if (group.is_high.load(std::memory_order_relaxed) &&
      read_single_once({group.path, "memory.max"}, &out->limit) != 0) {
    out->limit = kUnlimited;
  }
  out->counts = read_kill_counts(group.path, group.kind, index == 0);
  return true;
}

uint64_t read_group_key(const char* directory) { return key_of({directory, "."}); }

int64_t read_machine_kills(const char* proc) {
  KeyedValue wanted[] = {{"oom_kill"}};
  const int error = read_keyed_once({proc, "vmstat"}, wanted, 1);
  return error == 0 && wanted[0].found ? wanted[0].value : -1;
}

bool parse_boot_id(const char* text, size_t size, BootId* out) {
  BootId id;
  int digits = 0;
  for (size_t i = 0; i < size && digits < 32; ++i) {
    if (text[i] == '-') continue;
    const int digit = digit_of(text[i]);
    if (digit < 0) return false;
    uint64_t& word = id.words[digits / 16];
    word = word << 4 | static_cast<uint64_t>(digit);
    ++digits;
  }
  if (digits != 32) return false;
  *out = id;
  return true;
}

bool read_boot_id(const char* proc, BootId* out) {
  const OneShot file({proc, "sys/kernel/random/boot_id"});
  if (!file) return false;
  char text[40];
  const long got = sys::pread(file.fd(), text, sizeof text, 0);
  return got > 0 && parse_boot_id(text, static_cast<size_t>(got), out);
}

uint64_t read_pid_namespace(const char* proc) { return key_of({proc, "self/ns/pid"}); }

}  // namespace oomguard::probe
