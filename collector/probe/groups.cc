#include "collector/probe/groups.h"

#include "collector/probe/kernel_text.h"
#include "collector/probe/namespace_search.h"
#include "collector/probe/paths.h"

namespace oomguard::probe {
namespace {

constexpr const char* kFileNames[2][kGroupFileCount] = {
    {"memory.usage_in_bytes", "memory.limit_in_bytes", nullptr, "memory.stat",
     "memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes"},
    {"memory.current", "memory.max", "memory.high", "memory.stat", "memory.swap.max",
     "memory.swap.current"},
};

// How much a mount shows of the way from the process's group up to the real root.
enum class View : uint8_t {
  kNone,
  kElsewhere,  // the mount does not show the process's group
  kBelow,      // mount root "/../..": the namespace changed, the mount did not
  kPart,       // the mount shows a group above the process, and what is below
  kWhole,      // root "/"
};

// Copies up to `stop` (or the end of the line) into `out`, which is left empty when the field does
// not fit: a path that was cut would be a wrong path. Returns the character that ended the field.
int read_field(CharStream& in, int stop, char* out, size_t capacity) {
  size_t length = 0;
  int c = in.next();
  for (; c != stop && c != '\n' && c != -1; c = in.next()) {
    if (length < capacity) out[length++] = static_cast<char>(c);
  }
  out[length < capacity ? length : 0] = '\0';
  return c;
}

int skip_field(CharStream& in, int stop) {
  char none[1];
  return read_field(in, stop, none, sizeof(none));
}

// Is `word` an element of the comma-separated list that ends at `stop` or at the end of the line?
bool list_has(CharStream& in, int stop, const char* word, int* ended_by) {
  bool found = false;
  while (true) {
    const char* rest = word;
    bool same = true;
    int c = in.next();
    for (; c != ',' && c != stop && c != '\n' && c != -1; c = in.next()) {
      same = same && c == *rest && *rest != '\0';
      if (same) ++rest;
    }
    found = found || (same && *rest == '\0');
    if (c != ',') {
      *ended_by = c;
      return found;
    }
  }
}

// mountinfo writes blanks, tabs, newlines and backslashes as three octal digits.
void unescape(char* text) {
  char* out = text;
  for (const char* in = text; *in != '\0'; ++out) {
    const bool octal = in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && in[2] >= '0' &&
                       in[2] <= '7' && in[3] >= '0' && in[3] <= '7';
    *out = octal ? static_cast<char>((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0')) : *in;
    in += octal ? 4 : 1;
  }
  *out = '\0';
}

View view_of(const char* mount_root, const char* path) {
  if (same_text(mount_root, "/")) {
    return has_parent_component(path) ? View::kElsewhere : View::kWhole;
  }
  const char* rest = below(path, mount_root);
  if (rest != nullptr) return has_parent_component(rest) ? View::kElsewhere : View::kPart;
  const int up = skip_parents(&mount_root);
  return up > skip_parents(&path) && *mount_root == '\0' ? View::kBelow : View::kElsewhere;
}

// The rest of a line as a group's path. One that is too long reads as a group out of sight, so that
// the limits at the mount point still count.
void read_group_path(CharStream& in, char* out) {
  read_field(in, -1, out, kMaxPath);
  if (out[0] == '\0') copy_text(out, kMaxPath, "/..");
}

// Fills v1_path and v2_path of the scratch. `is_v1`: which of them has the memory controller.
bool read_process_groups(State& state, bool* is_v1) {
  Scratch& scratch = state.scratch;
  scratch.v1_path[0] = scratch.v2_path[0] = '\0';
  const OneShot file({state.self, "cgroup"});
  if (!file) return false;
  CharStream in(file.fd());
  while (true) {
    char id[8];
    int c = read_field(in, ':', id, sizeof(id));
    if (c == -1) break;
    if (c == '\n') continue;
    const bool memory = list_has(in, ':', "memory", &c);
    if (c != ':') continue;
    if (memory) {
      read_group_path(in, scratch.v1_path);
    } else if (same_text(id, "0")) {
      read_group_path(in, scratch.v2_path);
    } else {
      skip_field(in, -1);
    }
  }
  *is_v1 = scratch.v1_path[0] == '/';
  return *is_v1 || scratch.v2_path[0] == '/';
}

// One line of mountinfo into mount_root and mount_point. Returns whether it is a mount of the
// wanted hierarchy; `ended_by` is -1 at the end of the file.
bool read_mount(CharStream& in, Scratch& scratch, bool is_v1, int* ended_by) {
  int& c = *ended_by;
  for (int field = 0; field < 3; ++field) {
    if ((c = skip_field(in, ' ')) != ' ') return false;
  }
  if ((c = read_field(in, ' ', scratch.mount_root, kMaxPath)) != ' ') return false;
  if ((c = read_field(in, ' ', scratch.mount_point, kMaxPath)) != ' ') return false;
  char word[16];
  do {  // mount options and any number of optional fields, then "-"
    if ((c = read_field(in, ' ', word, sizeof(word))) != ' ') return false;
  } while (!same_text(word, "-"));
  if ((c = read_field(in, ' ', word, sizeof(word))) != ' ') return false;
  bool wanted = same_text(word, is_v1 ? "cgroup" : "cgroup2");
  if ((c = skip_field(in, ' ')) != ' ') return false;
  const bool memory = list_has(in, '\n', "memory", &c);
  wanted = wanted && (memory || !is_v1);
  return wanted && scratch.mount_root[0] == '/' && scratch.mount_point[0] == '/';
}

// The mount that shows most, into best_root and best_point.
View choose_mount(State& state, bool is_v1) {
  Scratch& scratch = state.scratch;
  const OneShot file({state.proc, "self/mountinfo"});
  if (!file) return View::kNone;
  CharStream in(file.fd());
  View best = View::kNone;
  int c = '\n';
  while (c != -1) {
    if (!read_mount(in, scratch, is_v1, &c)) {
      if (c == ' ') c = skip_field(in, -1);
      continue;
    }
    unescape(scratch.mount_root);
    unescape(scratch.mount_point);
    const View view = view_of(scratch.mount_root, is_v1 ? scratch.v1_path : scratch.v2_path);
    if (view <= best) continue;
    best = view;
    copy_text(scratch.best_root, kMaxPath, scratch.mount_root);
    copy_text(scratch.best_point, kMaxPath, scratch.mount_point);
  }
  return best;
}

// The own group below a mount whose root lies above the namespace's.
bool search_below(State& state, const char* path) {
  const char* root = state.scratch.best_root;
  const int depth = skip_parents(&root) - skip_parents(&path);
  if (same_text(path, "/")) path = "";
  const int pid = state.pid > 0 ? state.pid : static_cast<int>(sys::call(SYS_getpid));
  return find_process_group(state.scratch.directory, depth, path, pid);
}

// Writes the directory of the process's group into scratch.directory and the length of the mount
// point in it into `top`. Returns whether groups are out of sight between or above.
bool locate(State& state, View view, const char* path, size_t* top) {
  Scratch& scratch = state.scratch;
  char* directory = scratch.directory;
  copy_text(directory, kMaxPath, state.root);
  if (!append_text(directory, kMaxPath, scratch.best_point)) return true;
  *top = length_of(directory);
  if (view == View::kBelow) return !search_below(state, path);
  if (view == View::kElsewhere) return true;
  const char* rest = view == View::kWhole ? path : below(path, scratch.best_root);
  if (same_text(rest, "/")) rest = "";
  if (!append_text(directory, kMaxPath, rest) || !exists(directory, "cgroup.procs")) {
    directory[*top] = '\0';
    return true;
  }
  return view != View::kWhole;
}

// Does the directory at the mount point have a group above it? Only the real root lacks
// cgroup.type (v2) and has release_agent (v1).
bool is_inner_group(const char* directory, bool is_v1) {
  return is_v1 ? !exists(directory, "release_agent") : exists(directory, "cgroup.type");
}

void add_group(GroupTable* table, const char* directory, bool is_v1) {
  const LimitKind kind = is_v1 ? LimitKind::kCgroupV1 : LimitKind::kCgroupV2;
  if (!exists(directory, group_file_name(kind, kLimitFile))) return;
  Group& group = table->groups[table->count];
  struct stat status;
  if (!copy_text(group.path, kMaxPath, directory) ||
      sys::call(SYS_newfstatat, AT_FDCWD, sys::as_arg(directory), sys::as_arg(&status), 0) != 0) {
    return;
  }
  group.kind = kind;
  group.key = file_key(status);
  group.is_process_group = same_text(directory, table->process_group);
  group.limit.store(kUnlimited, std::memory_order_relaxed);
  group.is_high.store(false, std::memory_order_relaxed);
  group.swap_limit.store(kUnlimited, std::memory_order_relaxed);
  ++table->count;
}

// v1 before Linux 5.11: a group that does not say so does not count what is charged below it.
bool counts_children(const char* directory, bool is_v1) {
  Bytes value = 1;
  if (!is_v1 || read_single_once({directory, "memory.use_hierarchy"}, &value) != 0) return true;
  return value != 0;
}

void climb(State& state, GroupTable* table, size_t top, bool is_v1) {
  char* directory = state.scratch.directory;
  size_t length = length_of(directory);
  while (true) {
    if (table->count == kMaxGroups) {
      table->ancestors_hidden = true;
      return;
    }
    add_group(table, directory, is_v1);
    if (length <= top) return;
    do {
      directory[--length] = '\0';
    } while (length > top && directory[length - 1] != '/');
    if (length > top) directory[--length] = '\0';
    if (!counts_children(directory, is_v1)) return;
  }
}

Bytes min_of(Bytes a, Bytes b) { return a < b ? a : b; }

// The limit that v1 tells of groups out of sight.
Bytes hidden_limit(Group& group) {
  KeyedValue wanted[] = {{"hierarchical_memory_limit"}};
  if (read_keyed(group.files[kStatFile], {group.path, "memory.stat"}, wanted, 1) != 0) {
    return kUnlimited;
  }
  return wanted[0].found && wanted[0].value < (Bytes{1} << 62) ? wanted[0].value : kUnlimited;
}

void read_group_limits(State& state, Group& group, bool hidden_above) {
  const auto path = [&](GroupFile file) {
    return PathRef{group.path, group_file_name(group.kind, file)};
  };
  Bytes limit;
  if (read_single(group.files[kLimitFile], path(kLimitFile), &limit) != 0) {
    state.faults.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  Bytes high;
  bool is_high = false;
  if (group.kind == LimitKind::kCgroupV2 &&
      read_single(group.files[kHighFile], path(kHighFile), &high) == 0 && high < limit) {
    limit = high;
    is_high = true;
  }
  if (hidden_above && group.kind == LimitKind::kCgroupV1) {
    limit = min_of(limit, hidden_limit(group));
  }
  group.is_high.store(is_high, std::memory_order_relaxed);
  group.limit.store(limit, std::memory_order_relaxed);
  if (state.swap_free.load(std::memory_order_relaxed) <= 0) return;
  Bytes swap = kUnlimited;
  // Without swap accounting the file does not exist, and nothing limits the group's swap.
  if (read_single(group.files[kSwapLimitFile], path(kSwapLimitFile), &swap) != 0) swap = kUnlimited;
  group.swap_limit.store(swap, std::memory_order_relaxed);
}

}  // namespace

const char* group_file_name(LimitKind kind, GroupFile file) {
  return kFileNames[kind == LimitKind::kCgroupV1 ? 0 : 1][file];
}

bool resolve_groups(State& state, GroupTable* table) {
  table->count = 0;
  table->ancestors_hidden = false;
  table->process_group[0] = '\0';
  bool is_v1 = false;
  if (!read_process_groups(state, &is_v1)) return false;
  const View view = choose_mount(state, is_v1);
  if (view == View::kNone) return false;
  const char* path = is_v1 ? state.scratch.v1_path : state.scratch.v2_path;
  size_t top = 0;
  table->ancestors_hidden = locate(state, view, path, &top);
  if (top == 0) return false;
  copy_text(table->process_group, kMaxPath, state.scratch.directory);
  climb(state, table, top, is_v1);
  state.scratch.directory[top] = '\0';
  table->ancestors_hidden =
      table->ancestors_hidden || is_inner_group(state.scratch.directory, is_v1);
  return table->count > 0;
}

void read_limits(State& state, GroupTable& table) {
  for (uint32_t i = 0; i < table.count; ++i) {
    read_group_limits(state, table.groups[i], table.ancestors_hidden && i + 1 == table.count);
  }
}

void close_groups(GroupTable* table) {
  for (uint32_t i = 0; i < table->count; ++i) {
    for (KernelFile& file : table->groups[i].files) file.close();
  }
}

uint64_t hash_cgroup_text(State& state) {
  uint64_t hash = 0xcbf29ce484222325u;
  char text[512];
  int64_t offset = 0;
  while (true) {
    const long got = state.cgroup.pread({state.self, "cgroup"}, text, sizeof(text), offset);
    if (got < 0) return 0;
    if (got == 0) return hash;
    for (long i = 0; i < got; ++i) {
      hash = (hash ^ static_cast<unsigned char>(text[i])) * 0x100000001b3u;
    }
    offset += got;
  }
}

}  // namespace oomguard::probe
