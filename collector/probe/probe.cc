#include "collector/probe/probe.h"

#include "collector/probe/groups.h"
#include "collector/probe/kernel_text.h"
#include "collector/probe/levels.h"

namespace oomguard::probe {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// Writes "ROOT/proc" and "ROOT/proc/self" or "ROOT/proc/PID". False where the root is too long.
bool set_paths(State& state, const Config& config) {
  size_t length = 0;
  for (; config.root[length] != '\0'; ++length) {
    if (length + 1 >= kMaxRoot) return false;
    state.root[length] = config.root[length];
  }
  state.root[length] = '\0';
  state.root_length = static_cast<uint32_t>(length);
  state.pid = config.pid;
  char name[16] = "self";
  if (config.pid > 0) {
    char* at = name + sizeof(name) - 1;
    *at = '\0';
    for (int rest = config.pid; rest != 0; rest /= 10) {
      *--at = static_cast<char>('0' + rest % 10);
    }
    size_t i = 0;
    for (; at[i] != '\0'; ++i) name[i] = at[i];
    name[i] = '\0';
  }
  return join_path({state.root, "proc"}, state.proc, sizeof(state.proc)) &&
         join_path({state.proc, name}, state.self, sizeof(state.self));
}

void close_all(State& state) {
  for (GroupTable& table : state.tables) {
    close_groups(&table);
    table.count = 0;
  }
  for (KernelFile* file : {&state.meminfo, &state.statm, &state.status, &state.cgroup}) {
    file->close();
  }
}

// In fork's child nobody else runs: counts and locks held by other threads of the parent are void.
void reset(State& state) {
  close_all(state);
  state.readers[0].store(0);
  state.readers[1].store(0);
  state.refreshing.store(false);
  state.active.store(0);
  state.others_usage.store(0);
  state.shmem.store(0);
  state.mem_total.store(0);
}

// Resolves into the table that is not active and makes it the active one. Put off to the next call
// while somebody still reads that table.
bool switch_table(State& state) {
  const uint32_t next = 1 - state.active.load();
  if (state.readers[next].load() != 0) return false;
  GroupTable& table = state.tables[next];
  close_groups(&table);
  resolve_groups(state, &table);
  read_limits(state, table);
  state.active.store(next);
  return true;
}

// Sum over the visible groups of the processes that the kernel ended in them. An ancestor's limit
// is counted in the group that held the process (v1, and v2's local file); v2's innermost group is
// read with what is below it.
int64_t count_kills(const GroupTable& table) {
  int64_t sum = -1;
  for (uint32_t i = 0; i < table.count; ++i) {
    const Group& group = table.groups[i];
    const char* name = group.kind == LimitKind::kCgroupV1 ? "memory.oom_control"
                       : i == 0                           ? "memory.events"
                                                          : "memory.events.local";
    KeyedValue wanted[] = {{"oom_kill"}};
    if (read_keyed_once({group.path, name}, wanted, 1) != 0 || !wanted[0].found) continue;
    sum = (sum < 0 ? 0 : sum) + wanted[0].value;
  }
  return sum;
}

}  // namespace

// Sequentially consistent on purpose: the count must be visible before `active` is looked at again,
// and switch_table reads the count after it has stored `active`.
TableReader::TableReader(State& state) : state_(state) {
  while (true) {
    index_ = state.active.load();
    state.readers[index_].fetch_add(1);
    if (state.active.load() == index_) return;
    state.readers[index_].fetch_sub(1);
  }
}

TableReader::~TableReader() { state_.readers[index_].fetch_sub(1); }

bool Probe::open(const Config& config) {
  State& state = state_;
  reset(state);
  if (!set_paths(state, config)) return false;
  state.budget_bytes = config.budget.bytes == kUnlimited ? 0 : config.budget.bytes;
  state.budget_share_permille = config.budget.share_permille;
  state.changing_budget = config.changing_budget;
  read_machine(state, sys::monotonic_ns());
  read_rlimits(state);
  state.cgroup_text_hash = hash_cgroup_text(state);
  resolve_groups(state, &state.tables[0]);
  read_limits(state, state.tables[0]);
  Reading reading;
  return read(Depth::kCheap, &reading);
}

bool Probe::read(Depth depth, Reading* out) {
  State& state = state_;
  out->level_count = 0;
  out->full = depth == Depth::kFull;
  out->at_ns = sys::monotonic_ns();
  if (out->full && !read_machine(state, out->at_ns)) state.faults.fetch_add(1, kRelaxed);
  {
    TableReader table(state);
    add_group_levels(state, *table, table.index(), depth, out);
  }
  add_rlimit_levels(state, out);
  add_machine_level(state, depth, out);
  add_budget_level(state, out);
  return out->level_count > 0;
}

void Probe::refresh() {
  State& state = state_;
  if (state.refreshing.exchange(true)) return;
  read_rlimits(state);
  const uint64_t hash = hash_cgroup_text(state);
  if (hash != 0 && hash != state.cgroup_text_hash && switch_table(state)) {
    state.cgroup_text_hash = hash;
  } else {
    TableReader table(state);
    read_limits(state, *table);
  }
  if (state.budget_bytes != 0 || state.budget_share_permille != 0) read_shmem(state);
  state.refreshing.store(false);
}

void Probe::set_given_back(Bytes bytes) {
  state_.given_back.store(bytes < 0 ? 0 : bytes, kRelaxed);
}

void Probe::set_resident_text(Bytes bytes) {
  state_.resident_text.store(bytes < 0 ? 0 : bytes, kRelaxed);
}

void Probe::set_others_usage(Bytes bytes) {
  state_.others_usage.store(bytes, kRelaxed);
}

bool Probe::adopt_limits(const Probe& fresh) {
  const State& from = fresh.state();
  TableReader theirs(fresh.state());
  TableReader ours(state_);
  if (theirs->count != ours->count) return false;
  for (uint32_t i = 0; i < ours->count; ++i) {
    if (theirs->groups[i].key != ours->groups[i].key) return false;
  }
  for (uint32_t i = 0; i < ours->count; ++i) {
    const Group& group = theirs->groups[i];
    ours->groups[i].limit.store(group.limit.load(kRelaxed), kRelaxed);
    ours->groups[i].is_high.store(group.is_high.load(kRelaxed), kRelaxed);
    ours->groups[i].swap_limit.store(group.swap_limit.load(kRelaxed), kRelaxed);
  }
  state_.rlimit_as.store(from.rlimit_as.load(kRelaxed), kRelaxed);
  state_.rlimit_data.store(from.rlimit_data.load(kRelaxed), kRelaxed);
  state_.shmem.store(from.shmem.load(kRelaxed), kRelaxed);
  return true;
}

const char* Probe::level_path(uint16_t path_index) const {
  if (path_index >= 2 * kMaxGroups) return "";
  const GroupTable& table = state_.tables[path_index / kMaxGroups];
  const char* path = table.groups[path_index % kMaxGroups].path;
  for (uint32_t i = 0; i < state_.root_length; ++i) {
    if (path[i] == '\0') return "";
  }
  return path + state_.root_length;
}

uint64_t Probe::group_key() const {
  TableReader table(state_);
  return table->count > 0 ? table->groups[0].key : 0;
}

bool Probe::ancestors_hidden() const {
  TableReader table(state_);
  return table->ancestors_hidden;
}

bool Probe::kills_whole_group() const {
  TableReader table(state_);
  for (uint32_t i = 0; i < table->count; ++i) {
    const Group& group = table->groups[i];
    Bytes value = 0;
    if (group.kind == LimitKind::kCgroupV2 && group.limit.load(kRelaxed) != kUnlimited &&
        read_single_once({group.path, "memory.oom.group"}, &value) == 0 && value == 1) {
      return true;
    }
  }
  return false;
}

int64_t Probe::oom_kills() {
  TableReader table(state_);
  return count_kills(*table);
}

Bytes Probe::own_memory() const {
  KeyedValue wanted[] = {{"RssAnon:"}, {"RssShmem:"}};
  if (read_keyed(state_.status, {state_.self, "status"}, wanted, 2) != 0 || !wanted[0].found)
    return -1;
  return wanted[0].value + wanted[1].value;
}

uint64_t Probe::faults() const { return state_.faults.load(kRelaxed); }

}  // namespace oomguard::probe
