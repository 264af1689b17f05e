#include "shim/trace/object_table.h"

#include <atomic>
#include <cstring>

#include "collector/probe/kernel_text.h"
#include "collector/probe/syscall.h"
#include "shim/trace/program_headers.h"

namespace oomguard::trace {
namespace {

constexpr size_t kMaxObjects = 1024;
constexpr size_t kMaxPath = 512;
// Code made at run time lies in no object and would ask for ever.
constexpr int64_t kAgainNs = 50'000'000;
// Programs load objects all the time, some where an unloaded one was.
constexpr int64_t kStaleNs = 1'000'000'000;
// A look takes no seconds: who began one before the last table was finished left it by a longjmp.
constexpr int64_t kLongestLookNs = 5'000'000'000;

struct Table {
  std::atomic<uint32_t> readers;
  size_t count;
  LoadedObject objects[kMaxObjects];  // by address, as the kernel prints them
};
constinit Table g_tables[2] = {};
constinit std::atomic<uint32_t> g_current{0};
constinit std::atomic<bool> g_building{false};
constinit std::atomic<int64_t> g_built_ns{0};

struct MapLine {
  uintptr_t start, end;
  bool executable;
  uint64_t offset, device, inode;
  char path[kMaxPath];  // "" where it has none, or does not fit
};

int read_number(probe::CharStream& in, unsigned base, uint64_t* out) {
  *out = 0;
  for (;;) {
    const int c = in.next();
    if (c >= '0' && c <= '9') {
      *out = *out * base + static_cast<uint64_t>(c - '0');
    } else if (base == 16 && c >= 'a' && c <= 'f') {
      *out = *out * base + static_cast<uint64_t>(c - 'a' + 10);
    } else {
      return c;
    }
  }
}

// "start-end perms offset major:minor inode   path"
bool read_line(probe::CharStream& in, MapLine* out) {
  uint64_t minor = 0;
  int c = read_number(in, 16, &out->start);
  if (c == -1) return false;
  if (c == '-') read_number(in, 16, &out->end);
  out->executable = false;
  for (c = in.next(); c != ' ' && c != '\n' && c != -1; c = in.next()) {
    if (c == 'x') out->executable = true;
  }
  if (c == ' ') c = read_number(in, 16, &out->offset);
  if (c == ' ') c = read_number(in, 16, &out->device);
  if (c == ':') c = read_number(in, 16, &minor);
  out->device = out->device << 32 | minor;
  if (c == ' ') c = read_number(in, 10, &out->inode);
  while (c == ' ') c = in.next();
  size_t length = 0;
  for (; c != '\n' && c != -1; c = in.next()) {
    if (length < kMaxPath) out->path[length++] = static_cast<char>(c);
  }
  out->path[length < kMaxPath ? length : 0] = '\0';
  return true;
}

template <typename Visit>
void each_line(Visit visit) {
  const int fd = sys::open("/proc/self/maps", O_RDONLY);
  if (fd < 0) return;
  probe::CharStream in(fd);
  MapLine line{};
  while (read_line(in, &line) && visit(line)) {
  }
  sys::close(fd);
}

uint64_t stamp_of(const MapLine& line) {
  uint64_t hash = line.inode * 0x9e3779b97f4a7c15u ^ line.device;
  for (const char* c = line.path; *c != '\0'; ++c) {
    hash = (hash ^ static_cast<uint8_t>(*c)) * 0x100000001b3u;
  }
  return hash;
}

// Collects the lines of one file after the other.
class Builder {
 public:
  explicit Builder(Table* table) : table_(table) { table_->count = 0; }

  void add(const MapLine& line) {
    const bool is_vdso = strcmp(line.path, "[vdso]") == 0;
    if (line.inode == 0 && !is_vdso) return;
    const bool goes_on =
        !is_vdso && open_ && line.inode == inode_ && line.device == device_ && line.offset > 0;
    if (!goes_on) {
      finish();
      open_ = is_vdso || line.offset == 0;
      executable_ = false;
      inode_ = line.inode;
      device_ = line.device;
      object_ = {line.start, line.end, 0, 0, nullptr, stamp_of(line)};
    }
    object_.end = line.end;
    executable_ = executable_ || line.executable;
  }
  void finish() {
    if (!open_ || !executable_ || table_->count == kMaxObjects) return;
    open_ = false;
    ProgramHeaders headers;
    if (!read_program_headers(object_.start, object_.end, nullptr, &headers) ||
        !load_bias(object_.start, headers, &object_.bias)) {
      return;
    }
    if (const Elf64_Phdr* table = headers.first(PT_GNU_EH_FRAME)) {
      object_.eh_header = object_.bias + table->p_vaddr;
    }
    table_->objects[table_->count++] = object_;
  }

 private:
  Table* table_;
  bool open_ = false;
  bool executable_ = false;
  uint64_t inode_ = 0;
  uint64_t device_ = 0;
  LoadedObject object_{};
};

// Reads the mappings again where the table is older than that.
void rebuild(int64_t older_than_ns) {
  const int64_t now = sys::monotonic_ns();
  const int64_t built = g_built_ns.load(std::memory_order_relaxed);
  if (built != 0 && now - built < older_than_ns) return;
  if (g_building.exchange(true, std::memory_order_acquire)) return;
  const uint32_t spare = 1 - g_current.load();
  Table& table = g_tables[spare];
  if (now - built > kLongestLookNs) table.readers.store(0);
  if (table.readers.load() == 0) {
    Builder builder(&table);
    each_line([&](const MapLine& line) {
      builder.add(line);
      return true;
    });
    builder.finish();
    g_current.store(spare);
    g_built_ns.store(sys::monotonic_ns(), std::memory_order_relaxed);
  }
  g_building.store(false, std::memory_order_release);
}

bool search(uintptr_t address, LoadedObject* out) {
  uint32_t index;
  for (;;) {
    index = g_current.load();
    g_tables[index].readers.fetch_add(1);
    if (g_current.load() == index) break;
    g_tables[index].readers.fetch_sub(1);
  }
  const Table& table = g_tables[index];
  size_t low = 0;
  size_t high = table.count;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (table.objects[middle].end <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const bool found = low < table.count && table.objects[low].contains(address);
  if (found) *out = table.objects[low];
  g_tables[index].readers.fetch_sub(1);
  return found;
}

}  // namespace

bool find_in_own_table(uintptr_t address, LoadedObject* out) noexcept {
  rebuild(kStaleNs);
  if (search(address, out)) return true;
  rebuild(kAgainNs);
  return search(address, out);
}

void forget_object_table_users() noexcept {
  for (Table& table : g_tables) table.readers.store(0);
  g_building.store(false, std::memory_order_release);
}

bool mapped_path(uintptr_t address, char* out, size_t capacity) noexcept {
  bool found = false;
  each_line([&](const MapLine& line) {
    if (address < line.start || address >= line.end) return true;
    size_t length = strlen(line.path);
    constexpr char kDeleted[] = " (deleted)";
    if (length >= sizeof kDeleted &&
        strcmp(line.path + length + 1 - sizeof kDeleted, kDeleted) == 0) {
      length += 1 - sizeof kDeleted;
    }
    found = line.path[0] == '/' && length < capacity;
    if (found) {
      memcpy(out, line.path, length);
      out[length] = '\0';
    }
    return false;
  });
  return found;
}

}  // namespace oomguard::trace
