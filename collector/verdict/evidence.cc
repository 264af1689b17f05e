#include "collector/verdict/evidence.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "collector/probe/kernel_text.h"
#include "collector/probe/kill_counts.h"
#include "collector/probe/killers.h"
#include "collector/probe/syscall.h"

namespace oomguard::verdict {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kGrowthNs = 60 * kSecond;
constexpr int64_t kFreshNs = 5 * kSecond;  // a process that runs writes its file twice a second
// The log's clock runs apart from CLOCK_MONOTONIC by some parts in a million, which the kernel
// adjusts.
constexpr int64_t kLogClockNs = 20 * kSecond;
constexpr uint64_t kFirstPidNamespace = 0xEFFFFFFC;  // PROC_PID_INIT_INO

int64_t grown(int64_t before, int64_t after) {
  return before < 0 || after < before ? -1 : after - before;
}

Boot compare(const uint64_t (&own)[2], const uint64_t (&other)[2]) {
  const auto unknown = [](const uint64_t (&id)[2]) { return id[0] == 0 && id[1] == 0; };
  if (unknown(own) || unknown(other)) return Boot::kUnknown;
  return memcmp(own, other, sizeof own) == 0 ? Boot::kSame : Boot::kOther;
}

// Version 1 tells that a limit was never come near, and that it was for the first time.
int64_t grown_hits(const record::GroupRecord& group) {
  const int64_t more = grown(group.seen.hits, group.end.hits);
  const bool v1 = group.kind == static_cast<uint32_t>(probe::LimitKind::kCgroupV1);
  return v1 && more == 0 && group.end.hits > 0 ? -1 : more;
}

Level level_of(const record::GroupRecord& group, bool comparable) {
  Level level;
  level.kind = static_cast<probe::LimitKind>(group.kind);
  level.path = group.path;
  level.limit_bytes = group.limit_bytes;
  if (comparable) {
    level.grown = {grown(group.seen.kills, group.end.kills), grown_hits(group),
                   grown(group.seen.group_kills, group.end.group_kills)};
  }
  return level;
}

void put_counters(const record::FlightHeader& header, Evidence* out) {
  const bool comparable = header.end.at_realtime_ns.load() != 0 && out->boot == Boot::kSame;
  for (uint32_t i = 0; i < header.group_count; ++i) {
    out->levels.push_back(level_of(header.groups[i], comparable));
  }
  if (comparable) out->machine_kills = grown(header.machine_kills, header.end.machine_kills);
}

void put_samples(const record::FlightHeader& header, const std::vector<record::Sample>& samples,
                 Evidence* out) {
  if (samples.empty()) return;
  const record::Sample& last = samples.back();
  out->last = last;
  for (const record::Sample& sample : samples) {
    int64_t before = 0;
    if (__builtin_sub_overflow(last.at_monotonic_ns, sample.at_monotonic_ns, &before) ||
        before > kGrowthNs) {
      continue;
    }
    if (!out->lowest || sample.needed_bytes <= out->lowest->needed_bytes) out->lowest = sample;
  }
  int64_t unseen = 0;
  if (out->boot == Boot::kSame &&
      !__builtin_sub_overflow(header.end.at_monotonic_ns, last.at_monotonic_ns, &unseen) &&
      unseen >= 0) {
    out->unseen_ns = unseen;
  }
}

// A number is given anew, and other namespaces count by themselves: it must be named after it was
// seen last.
void put_log(const record::FlightHeader& header, const Surroundings& surroundings, Evidence* out) {
  if (!surroundings.first_pid_namespace || header.pid_namespace != surroundings.pid_namespace ||
      out->boot != Boot::kSame) {
    return;
  }
  const int64_t seen_ns = out->last ? out->last->at_monotonic_ns : header.start_monotonic_ns;
  for (const LogEvent& event : surroundings.log) {
    if (event.pid != header.pid || event.at_ns < 0) continue;
    int64_t after = 0;
    int64_t before = 0;
    if (__builtin_sub_overflow(event.at_ns, seen_ns, &after) ||
        __builtin_sub_overflow(header.end.at_monotonic_ns, event.at_ns, &before)) {
      continue;
    }
    if (after >= -kLogClockNs && before >= -kLogClockNs) out->log = event;
  }
}

std::string first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

void find_killers(Surroundings* out) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const std::string number = entry.path().filename();
    if (number.empty() || number[0] < '1' || number[0] > '9') continue;
    const std::string name = first_line(entry.path() / "comm");
    if (probe::killer_line(name.c_str(), out->machine_bytes) > 0) out->killers.push_back(name);
  }
  if (!out->killers.empty()) out->killer_line_bytes = probe::find_killer_line(out->machine_bytes);
}

}  // namespace

bool is_pod() {
  return ::getenv("KUBERNETES_SERVICE_HOST") != nullptr || ::access(kTerminationLog, F_OK) == 0;
}

Surroundings look_around() {
  Surroundings out;
  out.log = parse_kernel_log(read_kernel_log());
  probe::KeyedValue total[] = {{"MemTotal:"}};
  if (probe::read_keyed_once({"/proc", "meminfo"}, total, 1) == 0)
    out.machine_bytes = total[0].value;
  find_killers(&out);
  out.in_pod = is_pod();
  out.pid_namespace = probe::read_pid_namespace("/proc");
  struct stat status{};
  out.first_pid_namespace =
      ::stat("/proc/self/ns/pid", &status) == 0 && status.st_ino == kFirstPidNamespace;
  return out;
}

bool is_over(const record::FlightHeader& header, uint64_t pid_namespace) {
  const bool same =
      header.pid_namespace == 0 || pid_namespace == 0 || header.pid_namespace == pid_namespace;
  if (same) return !record::is_running(header);
  const int64_t age = sys::monotonic_ns() - header.last_sample_ns.load();
  return age < 0 || age > kFreshNs;
}

Evidence gather(const record::FlightHeader& header, const record::RefusalRecord* newest_refusal,
                const std::vector<record::Sample>& samples, const Surroundings& surroundings) {
  Evidence out;
  out.pid = header.pid;
  out.running =
      header.end.at_realtime_ns.load() == 0 && !is_over(header, surroundings.pid_namespace);
  out.end_state = static_cast<record::EndState>(header.end_state.load());
  if (header.end.has_wait_status != 0) out.wait_status = header.end.wait_status;
  out.sender_pid = header.end.sender_pid;
  out.sender_name = header.end.sender_name;
  out.boot = compare(header.boot_id, header.end.boot_id);
  out.ancestors_hidden = header.ancestors_hidden != 0;
  out.oom_score_adj = header.oom_score_adj;
  put_counters(header, &out);
  put_samples(header, samples, &out);
  if (newest_refusal != nullptr) {
    out.reported_only =
        newest_refusal->outcome == static_cast<uint32_t>(record::Outcome::kReported);
    out.ended_because = header.ended_because;
    const bool no_way_out =
        newest_refusal->outcome == static_cast<uint32_t>(record::Outcome::kEnded);
    out.ended_by_option = !no_way_out && !out.ended_because.empty();
    out.ended_by_guard = no_way_out || out.ended_by_option;
  }
  out.machine_bytes = surroundings.machine_bytes;
  out.killers = surroundings.killers;
  out.killer_line_bytes = surroundings.killer_line_bytes;
  out.in_pod = surroundings.in_pod;
  put_log(header, surroundings, &out);
  return out;
}

}  // namespace oomguard::verdict
