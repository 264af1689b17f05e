// `oomguard limits`: every limit on memory that applies to a process, and which one binds.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "collector/probe/probe.h"
#include "collector/probe/process.h"
#include "tools/command/exit_status.h"
#include "tools/command/option_flags.h"
#include "tools/command/verb.h"
#include "tools/preload/conflicts.h"
#include "tools/report/amount.h"

namespace oomguard::tools {
namespace {

using Json = nlohmann::ordered_json;
using probe::LimitKind;

constexpr const char* kSchema = "oomguard.limits/1";
constexpr size_t kMaxMembers = 4096;
constexpr size_t kShownOthers = 8;

struct LimitsArguments {
  int pid = 0;
  bool json = false;
};

// The kernel's answers at one moment.
struct Picture {
  int pid;
  probe::Probe probe;
  probe::Reading reading;
  probe::Headroom headroom;
  std::vector<probe::ProcessStatus> others;  // in the same group, largest first
  Preloaded preloaded;
};

const char* kind_name(LimitKind kind) {
  switch (kind) {
    case LimitKind::kCgroupV1:
      return "cgroup-v1";
    case LimitKind::kCgroupV2:
      return "cgroup-v2";
    case LimitKind::kMachine:
      return "machine";
    case LimitKind::kRlimitAs:
      return "rlimit-as";
    case LimitKind::kRlimitData:
      return "rlimit-data";
    case LimitKind::kBudget:
      return "budget";
    case LimitKind::kGpu:
      return "gpu";
  }
  return "unknown";
}

std::string level_name(const Picture& picture, const probe::Level& level) {
  switch (level.kind) {
    case LimitKind::kCgroupV1:
    case LimitKind::kCgroupV2:
      return std::string("container ") + picture.probe.level_path(level.path_index) +
             (level.is_high ? " (memory.high)" : "");
    case LimitKind::kMachine:
      return "machine";
    case LimitKind::kRlimitAs:
      return "address space (ulimit -v)";
    case LimitKind::kRlimitData:
      return "data (ulimit -d)";
    case LimitKind::kBudget:
      return "budget (OOMGUARD_BUDGET or MEM_LIMIT)";
    case LimitKind::kGpu:
      return "GPU";
  }
  return "unknown";
}

int64_t left_of(const probe::Level& level, uint32_t swap_share_permille) {
  probe::Reading one{};
  one.level_count = 1;
  one.levels[0] = level;
  return probe::headroom(one, swap_share_permille).bytes;
}

void list_others(Picture* picture) {
  std::vector<int32_t> pids(kMaxMembers);
  pids.resize(probe::list_group(picture->probe, pids.data(), pids.size()));
  for (const int32_t pid : pids) {
    probe::ProcessStatus status;
    // This command itself is gone when its answer is read.
    if (pid == picture->pid || pid == ::getpid()) continue;
    if (probe::read_status(pid, &status)) picture->others.push_back(status);
  }
  std::sort(picture->others.begin(), picture->others.end(),
            [](const auto& a, const auto& b) { return a.resident > b.resident; });
}

Result<std::unique_ptr<Picture>> look(int pid, const options::Values& settings) {
  auto picture = std::make_unique<Picture>();
  picture->pid = pid != 0 ? pid : ::getpid();
  probe::ProcessStatus status;
  if (pid < 0 || !probe::read_status(picture->pid, &status)) {
    return Error{"--pid: there is no process " + std::to_string(pid), kFailed};
  }
  probe::Config config;
  config.pid = pid;
  if (settings.budget_bytes >= 0) config.budget.bytes = settings.budget_bytes;
  config.budget.share_permille = settings.budget_share_permille;
  if (!picture->probe.open(config)) {
    return Error{"no limit of process " + std::to_string(picture->pid) + " can be read", kFailed};
  }
  if (!picture->probe.read(probe::Depth::kFull, &picture->reading)) {
    return Error{"no limit of process " + std::to_string(picture->pid) + " can be read", kFailed};
  }
  picture->headroom = probe::headroom(picture->reading, settings.swap_share_permille);
  list_others(picture.get());
  picture->preloaded = look_at_preloaded(pid);
  return picture;
}

std::string to_json(Picture& picture, uint32_t swap_share_permille) {
  const auto number_or_null = [](int64_t bytes) {
    return bytes == probe::kUnlimited ? Json(nullptr) : Json(bytes);
  };
  Json levels = Json::array();
  for (uint32_t i = 0; i < picture.reading.level_count; ++i) {
    const probe::Level& level = picture.reading.levels[i];
    const bool group = level.kind == LimitKind::kCgroupV1 || level.kind == LimitKind::kCgroupV2;
    levels.push_back({{"kind", kind_name(level.kind)},
                      {"path", group ? picture.probe.level_path(level.path_index) : ""},
                      {"binds", i == picture.headroom.level},
                      {"soft", level.is_high},
                      {"limit_bytes", number_or_null(level.limit)},
                      {"usage_bytes", level.usage},
                      {"reclaimable_bytes", level.reclaimable},
                      {"swap_room_bytes", level.swap_room},
                      {"left_bytes", number_or_null(left_of(level, swap_share_permille))}});
  }
  Json others = Json::array();
  for (const auto& other : picture.others) {
    others.push_back({{"pid", other.pid},
                      {"name", other.comm},
                      {"resident_bytes", other.resident},
                      {"anonymous_bytes", other.resident_anonymous}});
  }
  Json conflicts = Json::array();
  for (const Conflict& conflict : picture.preloaded.conflicts) {
    conflicts.push_back({{"library", conflict.library}, {"what", conflict.what}});
  }
  const int64_t kills = picture.probe.oom_kills();
  const Json all = {{"schema", kSchema},
                    {"pid", picture.pid},
                    {"left_bytes", number_or_null(picture.headroom.bytes)},
                    {"levels", levels},
                    {"ancestors_hidden", picture.probe.ancestors_hidden()},
                    {"kills_whole_group", picture.probe.kills_whole_group()},
                    {"oom_kills", kills < 0 ? Json(nullptr) : Json(kills)},
                    {"others", others},
                    {"guarded", picture.preloaded.guarded},
                    {"conflicts", conflicts}};
  return all.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

void print_levels(const Picture& picture, uint32_t swap_share_permille) {
  size_t width = 0;
  for (uint32_t i = 0; i < picture.reading.level_count; ++i) {
    width = std::max(width, level_name(picture, picture.reading.levels[i]).size());
  }
  printf("  %-*s %10s %10s %12s %10s %10s\n", static_cast<int>(width), "", "limit", "usage",
         "reclaimable", "swap room", "left");
  for (uint32_t i = 0; i < picture.reading.level_count; ++i) {
    const probe::Level& level = picture.reading.levels[i];
    printf("%s %-*s %10s %10s %12s %10s %10s\n", i == picture.headroom.level ? "*" : " ",
           static_cast<int>(width), level_name(picture, level).c_str(), amount(level.limit).c_str(),
           amount(level.usage).c_str(), amount(level.reclaimable).c_str(),
           amount(level.swap_room).c_str(), amount(left_of(level, swap_share_permille)).c_str());
  }
}

void print_others(const Picture& picture) {
  if (picture.others.empty()) return;
  printf("Other processes in the same group (resident):\n");
  for (size_t i = 0; i < picture.others.size() && i < kShownOthers; ++i) {
    const auto& other = picture.others[i];
    printf("  %8d %-15s %s\n", other.pid, other.comm, amount(other.resident).c_str());
  }
  if (picture.others.size() > kShownOthers) {
    printf("  and %zu more\n", picture.others.size() - kShownOthers);
  }
}

void print_conflicts(const Preloaded& preloaded) {
  if (preloaded.conflicts.empty()) return;
  printf("Does not go together with oomguard:\n");
  for (const Conflict& conflict : preloaded.conflicts) {
    printf("  %s: %s\n", conflict.library.c_str(), conflict.what.c_str());
  }
}

void print_text(Picture& picture, uint32_t swap_share_permille) {
  probe::ProcessStatus status;
  const bool known = probe::read_status(picture.pid, &status);
  printf("Limits on process %d (%s)\n", picture.pid, known ? status.comm : "ended");
  print_levels(picture, swap_share_permille);
  if (picture.headroom.level < picture.reading.level_count) {
    const probe::Level& level = picture.reading.levels[picture.headroom.level];
    printf("Bytes left: %s, until the limit of: %s (marked *)\n",
           amount(picture.headroom.bytes).c_str(), level_name(picture, level).c_str());
  } else {
    printf("Nothing limits this process.\n");
  }
  if (picture.probe.ancestors_hidden()) {
    printf("Groups further out exist and may limit too; they cannot be seen from here.\n");
  }
  if (picture.probe.kills_whole_group()) {
    printf("At this limit the kernel would kill every process of the group (memory.oom.group).\n");
  }
  const int64_t kills = picture.probe.oom_kills();
  if (kills > 0)
    printf("Kills counted so far on these limits: %lld\n", static_cast<long long>(kills));
  print_others(picture);
  print_conflicts(picture.preloaded);
}

Result<int> show_limits(const LimitsArguments& arguments) {
  const auto settings = read_settings(environ);
  if (!settings) return settings.error();
  const auto picture = look(arguments.pid, *settings);
  if (!picture) return picture.error();
  if (arguments.json) {
    printf("%s", to_json(**picture, settings->swap_share_permille).c_str());
  } else {
    print_text(**picture, settings->swap_share_permille);
  }
  return kOk;
}

}  // namespace

Verb add_limits(CLI::App& parent) {
  auto* app =
      parent.add_subcommand("limits", "Show every memory limit that applies, and what is left");
  auto arguments = std::make_shared<LimitsArguments>();
  app->add_option("--pid", arguments->pid, "Of this process instead of the command's own")
      ->option_text("PID");
  app->add_flag("--json", arguments->json, "As JSON, every number in bytes");
  return {app, [arguments] { return show_limits(*arguments); }};
}

}  // namespace oomguard::tools
