// Everything that reads the kernel's texts: groups, limits, counters, processes, modules.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/probe/kernel_text.h"
#include "collector/probe/kill_counts.h"
#include "collector/probe/memory_view.h"
#include "collector/probe/probe.h"
#include "collector/probe/process.h"
#include "collector/probe/residency.h"
#include "collector/verdict/kernel_log.h"
#include "shim/budget/callers.h"
#include "tests/fuzz/system_calls.h"

using namespace oomguard;

static void read_limits() {
  static probe::Probe probe;
  probe::Config config;
  config.budget.share_permille = 500;
  static_cast<void>(probe.open(config));
  probe::Reading reading;
  for (const probe::Depth depth : {probe::Depth::kCheap, probe::Depth::kFull}) {
    if (!probe.read(depth, &reading)) continue;
    if (reading.level_count > probe::kMaxLevels) abort();
    const probe::Headroom headroom = probe::headroom(reading, 500);
    if (headroom.level != UINT32_MAX && headroom.level >= reading.level_count) abort();
    for (uint32_t i = 0; i < reading.level_count; ++i) {
      if (strlen(probe.level_path(reading.levels[i].path_index)) >= probe::kMaxPath) abort();
    }
  }
  probe.refresh();
  probe.oom_kills();
  probe::GroupKills group;
  for (uint32_t i = 0; probe::read_group_kills(probe, i, &group); ++i) {
    if (i >= probe::kMaxGroups || strlen(group.path) >= probe::kMaxPath) abort();
  }
  int32_t pids[8];
  if (probe::list_group(probe, pids, 8) > 8) abort();
}

// What is no number stays, and no number grows.
static void lower(const char* text, size_t size) {
  char* copy = static_cast<char*>(malloc(size + 1));
  memcpy(copy, text, size);
  probe::lower_meminfo(copy, size, {1 << 20, 4096, 4096, 0, 0});
  bool lower = false;
  for (size_t i = 0; i < size; ++i) {
    if (text[i] == '\n') lower = false;
    if (copy[i] == text[i] || lower) continue;
    lower = true;
    const bool is_less = copy[i] == ' ' || (copy[i] >= '0' && copy[i] < text[i]);
    if (text[i] < '0' || text[i] > '9' || !is_less) abort();
  }
  free(copy);
}

static void read_log(std::string_view text) {
  for (const verdict::LogEvent& event : verdict::parse_kernel_log(text)) {
    if (event.pid <= 0 || event.name.size() > 64 || event.module.size() > 64) abort();
  }
}

static void read_processes() {
  probe::ProcessStatus status;
  if (probe::read_status(1, &status) && strnlen(status.comm, sizeof status.comm) == sizeof status.comm) {
    abort();
  }
  static_cast<void>(probe::own_memory());
  static_cast<void>(probe::Residency().in_file(0x1000));
  char name[32];
  budget::module_name(reinterpret_cast<uintptr_t>(&read_limits), name, sizeof name);
  static_cast<void>(budget::classify(0x1000));
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const char* text = reinterpret_cast<const char*>(data);
  probe::Bytes value;
  static_cast<void>(probe::parse_single(text, size, &value));
  probe::KeyedValue wanted[] = {{"inactive_file"}, {"MemAvailable:"}};
  probe::match_line(text, text + size, wanted, 2);
  lower(text, size);
  read_log({text, size});
  probe::BootId boot;
  static_cast<void>(probe::parse_boot_id(text, size, &boot));
  fuzz::serve(data, size);
  read_limits();
  read_processes();
  fuzz::serve(nullptr, 0);
  return 0;
}
