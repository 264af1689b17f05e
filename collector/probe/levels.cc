#include "collector/probe/levels.h"

#include <errno.h>
#include <sys/resource.h>

#include "collector/probe/kernel_text.h"

namespace oomguard::probe {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int64_t kMachineAge_ns = 20'000'000;

Bytes min_of(Bytes a, Bytes b) { return a < b ? a : b; }
Bytes not_negative(Bytes value) { return value < 0 ? 0 : value; }

void count_fault(State& state) { state.faults.fetch_add(1, kRelaxed); }

Level* append(Reading* out, LimitKind kind, Bytes limit, Bytes usage) {
  if (out->level_count >= kMaxLevels) return nullptr;
  Level* level = &out->levels[out->level_count++];
  *level = Level{kind, false, limit, usage, 0, 0, kNoPath};
  return level;
}

// What the kernel would give back of this group: its file pages, less the text that runs.
int read_reclaimable(State& state, Group& group, Level* level) {
  const bool is_v1 = group.kind == LimitKind::kCgroupV1;
  KeyedValue wanted[] = {{is_v1 ? "total_inactive_file" : "inactive_file"},
                         {is_v1 ? "total_active_file" : "active_file"}};
  const int error = read_keyed(group.files[kStatFile], {group.path, "memory.stat"}, wanted, 2);
  if (error != 0) return error;
  if (!wanted[0].found || !wanted[1].found) return -EINVAL;
  Bytes cache = kUnlimited;
  if (__builtin_add_overflow(wanted[0].value, wanted[1].value, &cache)) cache = kUnlimited;
  // A group cannot give back more than it holds, whatever a text says.
  cache = min_of(cache, not_negative(level->usage));
  const Bytes given = min_of(cache, state.given_back.load(kRelaxed));
  level->text_held = min_of(cache - given, state.resident_text.load(kRelaxed));
  level->reclaimable = cache - level->text_held;
  return 0;
}

struct Swap {
  Bytes room;  // kUnlimited where the group sets no limit
  Bytes used;  // 0 where that is not counted
};

Bytes read_file(Group& group, GroupFile file, Bytes otherwise) {
  Bytes value;
  const int error =
      read_single(group.files[file], {group.path, group_file_name(group.kind, file)}, &value);
  return error == 0 ? value : otherwise;
}

// What this group alone would still allow, and what it uses.
Swap own_swap(Group& group) {
  const Bytes limit = group.swap_limit.load(kRelaxed);
  const Bytes counted = read_file(group, kSwapUsageFile, -1);
  if (counted < 0) return {limit == kUnlimited ? kUnlimited : 0, 0};
  if (group.kind == LimitKind::kCgroupV2) {
    return {limit == kUnlimited ? kUnlimited : not_negative(limit - counted), counted};
  }
  // v1 counts memory and swap together: of what memory + swap may still grow by, the part that
  // memory alone may grow by is no swap.
  const Bytes memory = read_file(group, kUsageFile, counted);
  const Bytes used = not_negative(counted - memory);
  if (limit == kUnlimited) return {kUnlimited, used};
  const Bytes memory_limit = group.limit.load(kRelaxed);
  const Bytes memory_left = memory_limit == kUnlimited ? 0 : not_negative(memory_limit - memory);
  return {not_negative(limit - counted - memory_left), used};
}

// Fills `swaps`: a group's swap is limited by its own rule and by those of all groups above it.
void read_swaps(State& state, GroupTable& table, Swap* swaps) {
  Bytes room = not_negative(state.swap_free.load(kRelaxed));
  for (uint32_t i = table.count; i-- > 0;) {
    Group& group = table.groups[i];
    swaps[i] = room > 0 ? own_swap(group) : Swap{0, 0};
    // v1 limits a sum, which each level answers for itself.
    swaps[i].room = min_of(room, swaps[i].room);
    if (group.kind == LimitKind::kCgroupV2) room = swaps[i].room;
  }
}

// The smallest kernel limit so far; rlimits speak of address space and are left out.
Bytes smallest_memory_limit(const Reading& reading) {
  Bytes least = kUnlimited;
  for (uint32_t i = 0; i < reading.level_count; ++i) {
    const Level& level = reading.levels[i];
    if (level.kind == LimitKind::kRlimitAs || level.kind == LimitKind::kRlimitData) continue;
    least = min_of(least, level.limit);
  }
  return least;
}

// The numbers of /proc/PID/statm, in bytes. False where they cannot be read.
bool read_statm(State& state, Bytes (&fields)[7]) {
  char text[160];
  const long got = state.statm.pread({state.self, "statm"}, text, sizeof(text));
  if (got <= 0) return false;
  const char* at = text;
  const char* const end = text + got;
  for (Bytes& field : fields) {
    if (!parse_number(&at, end, &field)) return false;
    field = pages_to_bytes(field);
    while (at != end && *at == ' ') ++at;
  }
  return true;
}

Bytes rlimit_of(State& state, int resource) {
  rlimit64 limit{};
  if (sys::call(SYS_prlimit64, state.pid, resource, 0, sys::as_arg(&limit)) != 0) return 0;
  return limit.rlim_cur >= (uint64_t{1} << 62) ? 0 : static_cast<Bytes>(limit.rlim_cur);
}

}  // namespace

void add_group_levels(State& state, GroupTable& table, uint32_t table_index, Depth depth,
                      Reading* out) {
  Swap swaps[kMaxGroups];
  if (depth == Depth::kFull) read_swaps(state, table, swaps);
  for (uint32_t i = 0; i < table.count; ++i) {
    Group& group = table.groups[i];
    const Bytes limit = group.limit.load(kRelaxed);
    if (limit == kUnlimited) continue;
    if (out->level_count + 4 >= kMaxLevels) return;  // four are kept for other kinds
    Bytes usage;
    if (read_single(group.files[kUsageFile], {group.path, group_file_name(group.kind, kUsageFile)},
                    &usage) != 0) {
      count_fault(state);
      continue;
    }
    Level* level = append(out, group.kind, limit, usage);
    level->is_high = group.is_high.load(kRelaxed);
    level->path_index = static_cast<uint16_t>(table_index * kMaxGroups + i);
    if (depth == Depth::kCheap) continue;
    level->swap_room = swaps[i].room;
    level->swap_used = swaps[i].used;
    if (read_reclaimable(state, group, level) != 0) {
      // Without its cache the level would refuse what fits.
      count_fault(state);
      --out->level_count;
    }
  }
}

void add_rlimit_levels(State& state, Reading* out) {
  const Bytes address_space = state.rlimit_as.load(kRelaxed);
  const Bytes data = state.rlimit_data.load(kRelaxed);
  if (address_space == 0 && data == 0) return;
  Bytes fields[7];  // size resident shared text lib data dt
  if (!read_statm(state, fields)) {
    count_fault(state);
    return;
  }
  if (address_space != 0) append(out, LimitKind::kRlimitAs, address_space, fields[0]);
  if (data != 0) append(out, LimitKind::kRlimitData, data, fields[5]);
}

void add_machine_level(State& state, Depth depth, Reading* out) {
  const Bytes known = state.mem_available.load(kRelaxed);
  const bool old = out->at_ns - state.machine_at_ns.load(kRelaxed) > kMachineAge_ns;
  // With kFull the reading begins with read_machine, for the swap of the groups.
  if (depth == Depth::kCheap && (old || known / 2 < headroom(*out, 0).bytes) &&
      !read_machine(state, out->at_ns)) {
    count_fault(state);
    return;
  }
  const Bytes total = state.mem_total.load(kRelaxed);
  if (total <= 0) return;
  Level* level =
      append(out, LimitKind::kMachine, total, total - state.mem_available.load(kRelaxed));
  if (level == nullptr) return;
  level->swap_room = state.swap_free.load(kRelaxed);
  level->swap_used = not_negative(state.swap_total.load(kRelaxed) - level->swap_room);
}

namespace {

// The budget that counts now; 0: none.
Bytes budget_of(const State& state, const Reading& reading) {
  Bytes limit = state.budget_bytes;
  const bool is_share = limit == 0 && state.budget_share_permille != 0;
  const Bytes whole = is_share ? smallest_memory_limit(reading) : kUnlimited;
  if (whole != kUnlimited) {
    limit = static_cast<Bytes>(static_cast<__int128>(whole) * state.budget_share_permille / 1000);
  }
  const Bytes other = state.changing_budget != nullptr ? state.changing_budget->load() : 0;
  return other != 0 && (limit == 0 || other < limit) ? other : limit;
}

}  // namespace

void add_budget_level(State& state, Reading* out) {
  const Bytes limit = budget_of(state, *out);
  if (limit == 0) return;
  Bytes fields[7];
  if (!read_statm(state, fields)) {
    count_fault(state);
    return;
  }
  read_shmem(state);
  // statm's "shared" is file pages and shared memory together, so this difference is RssAnon.
  const Bytes usage = not_negative(fields[1] - fields[2]) + state.shmem.load(kRelaxed) +
                      state.others_usage.load(kRelaxed);
  append(out, LimitKind::kBudget, limit, not_negative(usage));
}

bool read_machine(State& state, int64_t now_ns) {
  KeyedValue wanted[] = {{"MemTotal:"}, {"MemAvailable:"}, {"SwapFree:"}, {"SwapTotal:"}};
  if (read_keyed(state.meminfo, {state.proc, "meminfo"}, wanted, 4) != 0) return false;
  if (!wanted[0].found || !wanted[1].found) return false;
  state.mem_total.store(wanted[0].value, kRelaxed);
  state.mem_available.store(min_of(wanted[0].value, wanted[1].value), kRelaxed);
  state.swap_free.store(wanted[2].value, kRelaxed);
  state.swap_total.store(wanted[3].value, kRelaxed);
  state.machine_at_ns.store(now_ns, kRelaxed);
  return true;
}

void read_shmem(State& state) {
  KeyedValue wanted[] = {{"RssShmem:"}};
  if (read_keyed(state.status, {state.self, "status"}, wanted, 1) == 0 && wanted[0].found) {
    state.shmem.store(wanted[0].value, kRelaxed);
  }
}

void read_rlimits(State& state) {
  state.rlimit_as.store(rlimit_of(state, RLIMIT_AS), kRelaxed);
  state.rlimit_data.store(rlimit_of(state, RLIMIT_DATA), kRelaxed);
}

}  // namespace oomguard::probe
