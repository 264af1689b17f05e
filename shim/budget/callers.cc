#include "shim/budget/callers.h"

#include <string.h>

#include <atomic>

#include "collector/probe/syscall.h"
#include "shim/budget/rust_module.h"
#include "shim/core/copy_text.h"

namespace oomguard::budget {
namespace {

constexpr size_t kMaxModules = 2048;
constexpr size_t kMaxName = 64;
constexpr size_t kMaxModulePath = 256;
// Programs load modules all the time, some where an unloaded one was.
constexpr int64_t kStaleNs = 1'000'000'000;
// Code made at run time lies in no module and would ask for ever.
constexpr int64_t kUnknownNs = 50'000'000;
constexpr int64_t kLongestLookNs = 5'000'000'000;

struct Module {
  uintptr_t start;
  uintptr_t end;
  std::atomic<Caller> caller;
  std::atomic<bool> looked_inside;
  char name[kMaxName];
};

// Sorted by address as the kernel prints it. Two tables: one in use, one being built. A table that
// somebody reads (`readers`, and g_current after it) is not built anew.
struct Table {
  std::atomic<uint32_t> readers;
  size_t count;
  Module modules[kMaxModules];
};
constinit Table g_tables[2] = {};
constinit std::atomic<uint32_t> g_current{0};
constinit std::atomic<bool> g_building{false};
constinit std::atomic<int64_t> g_built_ns{0};
constinit std::atomic<uintptr_t> g_interpreter{0};

bool contains(const char* text, const char* part) { return strstr(text, part) != nullptr; }
bool starts_with(const char* text, const char* part) {
  return strncmp(text, part, strlen(part)) == 0;
}
const char* base_name(const char* path) {
  const char* slash = strrchr(path, '/');
  return slash != nullptr ? slash + 1 : path;
}
uintptr_t parse_hex(const char** text) {
  uintptr_t value = 0;
  for (;; ++*text) {
    const char c = **text;
    if (c >= '0' && c <= '9') {
      value = value * 16 + static_cast<uintptr_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      value = value * 16 + static_cast<uintptr_t>(c - 'a' + 10);
    } else {
      return value;
    }
  }
}

// "start-end perms offset dev inode   path": executable, file-backed lines become modules.
void add_line(Table* table, const char* line) {
  const char* at = line;
  const uintptr_t start = parse_hex(&at);
  if (*at != '-') return;
  ++at;
  const uintptr_t end = parse_hex(&at);
  if (at[0] != ' ' || at[3] != 'x') return;
  const char* path = strchr(at, '/');
  if (path == nullptr || table->count == kMaxModules) return;
  Module& module = table->modules[table->count++];
  module.start = start;
  module.end = end;
  const uintptr_t interpreter = g_interpreter.load(std::memory_order_relaxed);
  const bool is_interpreter = interpreter >= start && interpreter < end;
  module.caller.store(is_interpreter ? Caller::kInterpreter : classify_path(path),
                      std::memory_order_relaxed);
  module.looked_inside.store(is_interpreter, std::memory_order_relaxed);
  copy_text(module.name, kMaxName, base_name(path));
}

// Feeds the lines of /proc/self/maps to `visit` through one small buffer; a line longer than it
// (a very long path) is cut.
template <typename Visit>
bool each_map_line(Visit visit) {
  const int fd = sys::open("/proc/self/maps", O_RDONLY);
  if (fd < 0) return false;
  char chunk[512];
  char line[kMaxModulePath + 80];
  size_t used = 0;
  long got;
  while ((got = sys::read(fd, chunk, sizeof chunk)) > 0) {
    for (long i = 0; i < got; ++i) {
      if (chunk[i] == '\n') {
        line[used] = '\0';
        if (!visit(line)) {
          sys::close(fd);
          return true;
        }
        used = 0;
      } else if (used + 1 < sizeof line) {
        line[used++] = chunk[i];
      }
    }
  }
  sys::close(fd);
  return true;
}

const Module* lookup(const Table& table, uintptr_t address) {
  size_t low = 0;
  size_t high = table.count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    const Module& module = table.modules[middle];
    if (address < module.start) {
      high = middle;
    } else if (address >= module.end) {
      low = middle + 1;
    } else {
      return &module;
    }
  }
  return nullptr;
}

// Reads the mappings again where the table is older than that.
void rebuild(int64_t older_than_ns) {
  const int64_t now = sys::monotonic_ns();
  const int64_t age_ns = now - g_built_ns.load(std::memory_order_relaxed);
  if (g_built_ns.load(std::memory_order_relaxed) != 0 && age_ns < older_than_ns) return;
  if (g_building.exchange(true, std::memory_order_acquire)) return;
  const uint32_t spare = 1 - g_current.load();
  Table& table = g_tables[spare];
  // A look takes no seconds: who began one before the last table was finished left it by a longjmp.
  if (age_ns > kLongestLookNs) table.readers.store(0);
  if (table.readers.load() == 0) {
    table.count = 0;
    if (each_map_line([&](const char* line) {
          add_line(&table, line);
          return true;
        })) {
      g_current.store(spare);
      g_built_ns.store(now, std::memory_order_relaxed);
    }
  }
  g_building.store(false, std::memory_order_release);
}

// A look at the table in use.
class Look {
 public:
  Look() noexcept {
    for (;;) {
      index_ = g_current.load();
      g_tables[index_].readers.fetch_add(1);
      if (g_current.load() == index_) return;
      g_tables[index_].readers.fetch_sub(1);
    }
  }
  ~Look() { g_tables[index_].readers.fetch_sub(1); }
  Look(const Look&) = delete;
  Look& operator=(const Look&) = delete;

  Module* find(uintptr_t address) const noexcept {
    return const_cast<Module*>(lookup(g_tables[index_], address));
  }

 private:
  uint32_t index_;
};

void renew_for(uintptr_t address) {
  rebuild(kStaleNs);
  if (Look().find(address) == nullptr) rebuild(kUnknownNs);
}

bool full_path(uintptr_t address, char* out, size_t capacity) {
  bool found = false;
  each_map_line([&](const char* line) {
    const char* at = line;
    const uintptr_t start = parse_hex(&at);
    ++at;
    if (address < start || address >= parse_hex(&at)) return true;
    const char* path = strchr(at, '/');
    if (path != nullptr) {
      copy_text(out, capacity, path);
      found = true;
    }
    return false;
  });
  return found;
}

}  // namespace

Caller classify_path(const char* path) noexcept {
  static constexpr const char* kAborting[] = {
      "libopenblas", "libscipy_openblas", "libmkl_",    "libgomp",     "libiomp5",
      "libomp.",     "libomp-",           "libomp5",    "libllvmlite", "libLLVM",
      "libtriton",   "xla_extension",     "libjax",     "libgmp.",     "libgmp-",
      "libglib-2.0", "cygrpc.",           "libscalene", "libefence",   "libduma"};
  const char* base = base_name(path);
  for (const char* prefix : kAborting) {
    if (starts_with(base, prefix)) return Caller::kAborts;
  }
  if (starts_with(base, "libpython3")) return Caller::kInterpreter;
  if (starts_with(base, "libstdc++") || starts_with(base, "libc++")) return Caller::kCxxRuntime;
  if (contains(path, "/lib-dynload/")) return Caller::kInterpreter;
  if (contains(path, "/site-packages/") || contains(path, "/dist-packages/") ||
      contains(base, ".cpython-3") || contains(base, ".abi3.so")) {
    return Caller::kExtension;
  }
  return Caller::kOther;
}

void set_interpreter_address(uintptr_t address) noexcept {
  g_interpreter.store(address, std::memory_order_relaxed);
}

void forget_table_users() noexcept {
  for (Table& table : g_tables) table.readers.store(0);
  g_building.store(false, std::memory_order_release);
}

namespace {

// Once for each module: what its file says about it.
Caller look_inside(Module* module) {
  char path[kMaxModulePath];
  Caller caller = module->caller.load(std::memory_order_relaxed);
  if (caller != Caller::kAborts && full_path(module->start, path, sizeof path) &&
      made_by_rust(path)) {
    caller = unwinds(path) ? Caller::kAborts : Caller::kAbortsOnObjects;
  }
  module->caller.store(caller, std::memory_order_relaxed);
  module->looked_inside.store(true, std::memory_order_relaxed);
  return caller;
}

Caller caller_of(Module* module) {
  if (module == nullptr) return Caller::kUnknown;
  if (!module->looked_inside.load(std::memory_order_relaxed)) return look_inside(module);
  return module->caller.load(std::memory_order_relaxed);
}

}  // namespace

Caller classify(uintptr_t return_address) noexcept {
  renew_for(return_address);
  return classify_known(return_address);
}

Caller classify_known(uintptr_t address) noexcept {
  const Look look;
  return caller_of(look.find(address));
}

void find_new_modules() noexcept { rebuild(kUnknownNs / 5); }

void module_name(uintptr_t address, char* out, size_t capacity) noexcept {
  if (address != 0) renew_for(address);
  const Look look;
  const Module* module = address != 0 ? look.find(address) : nullptr;
  copy_text(out, capacity, module != nullptr ? module->name : "");
}

}  // namespace oomguard::budget
