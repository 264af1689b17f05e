#include "shim/core/model_files.h"

#include <string.h>

#include <atomic>

#include "collector/probe/checkpoint_name.h"
#include "collector/probe/directory.h"
#include "collector/probe/kernel_text.h"
#include "collector/probe/mappings.h"
#include "collector/record/append.h"
#include "shim/core/session.h"

namespace oomguard::model_files {
namespace {

using record::ModelFileRecord;
using record::Section;

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int64_t kEveryNs = 2'000'000'000;
constexpr int64_t kTimesItsCost = 1000;
constexpr int64_t kLeastBytes = int64_t{1} << 20;
constexpr size_t kMost = 256;
constexpr int kMostDescriptors = 1024;

constinit std::atomic<int64_t> g_due_ns{0};
constinit std::atomic<bool> g_looking{false};

// Whoever set g_looking has these; too large for a stack that may be anybody's.
constinit probe::FilePath g_path;
constinit int64_t g_mapped[kMost];

// -1: no regular file, or a small one.
int64_t size_of(int folder, const char* name) noexcept {
  struct stat info;
  if (sys::call(SYS_newfstatat, folder, sys::as_arg(name), sys::as_arg(&info), 0) != 0) return -1;
  return S_ISREG(info.st_mode) && info.st_size >= kLeastBytes ? info.st_size : -1;
}

uint32_t known_files(const record::View& view) noexcept {
  const uint32_t count = record::claimed(view, Section::kModelFiles);
  return count < kMost ? count : kMost;
}

// The record of the file g_path, a new one where it has none; kNoRecord where it is not worth one.
// `folder` and `name` lead to the file itself.
uint32_t find(const record::View& view, int folder, const char* name) noexcept {
  for (uint32_t i = 0; i < known_files(view); ++i) {
    const ModelFileRecord& file = view.model_files[i];
    if (file.state.load(std::memory_order_acquire) == 1 &&
        strcmp(view.strings + file.path, g_path.text) == 0) {
      return i;
    }
  }
  const int64_t size = size_of(folder, name);
  if (size < 0 || known_files(view) == kMost) return record::kNoRecord;
  const uint32_t path = record::add_string(view, g_path.text, strlen(g_path.text));
  const uint32_t index = path != 0 ? record::claim(view, Section::kModelFiles) : record::kNoRecord;
  if (index >= kMost) return record::kNoRecord;
  view.model_files[index].path = path;
  view.model_files[index].size_bytes = size;
  view.model_files[index].state.store(1, std::memory_order_release);
  return index;
}

void look_at_mappings(const record::View& view, int64_t now_ns) noexcept {
  const probe::OneShot maps({"/proc/self", "maps"});
  if (!maps) return;
  probe::CharStream in(maps.fd());
  probe::Mapping mapping;
  memset(g_mapped, 0, sizeof g_mapped);
  while (probe::read_mapping(in, &mapping, &g_path)) {
    if (!mapping.of_file() || mapping.end <= mapping.start) continue;
    if (!probe::is_checkpoint_name(g_path.text)) continue;
    const uint32_t index = find(view, AT_FDCWD, g_path.text);
    if (index == record::kNoRecord) continue;
    g_mapped[index] += static_cast<int64_t>(mapping.end - mapping.start);
    view.model_files[index].mapped_bytes = g_mapped[index];
    view.model_files[index].seen_ns = now_ns;
  }
}

void look_at_descriptors(const record::View& view, int64_t now_ns) noexcept {
  const int folder = sys::open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
  if (folder < 0) return;
  int looked = 0;
  sys::for_each_entry(folder, [&](const char* name) {
    if (name[0] == '.' || ++looked > kMostDescriptors) return;
    const long length = sys::call(SYS_readlinkat, folder, sys::as_arg(name),
                                  sys::as_arg(g_path.text), sizeof g_path.text - 1);
    if (length <= 0 || g_path.text[0] != '/') return;
    g_path.text[length] = '\0';
    if (!probe::is_checkpoint_name(g_path.text)) return;
    const uint32_t index = find(view, folder, name);
    if (index == record::kNoRecord) return;
    view.model_files[index].mapped_bytes = g_mapped[index];
    view.model_files[index].seen_ns = now_ns;
  });
  sys::close(folder);
}

}  // namespace

void look(int64_t now_ns) noexcept {
  const record::View& view = session::view();
  if (view.capacity(Section::kModelFiles) == 0 || g_looking.exchange(true)) return;
  look_at_mappings(view, now_ns);
  look_at_descriptors(view, now_ns);
  const int64_t cost_ns = sys::monotonic_ns() - now_ns;
  const int64_t pause_ns = cost_ns * kTimesItsCost;
  g_due_ns.store(now_ns + (pause_ns > kEveryNs ? pause_ns : kEveryNs), kRelaxed);
  g_looking.store(false);
}

void look_if_due(int64_t now_ns) noexcept {
  const int64_t due_ns = g_due_ns.load(kRelaxed);
  if (due_ns == 0) {
    g_due_ns.store(now_ns + kEveryNs, kRelaxed);  // nothing is loaded that early
  } else if (now_ns >= due_ns) {
    look(now_ns);
  }
}

void on_fork_child() noexcept {
  g_looking.store(false);
  g_due_ns.store(0, kRelaxed);
}

}  // namespace oomguard::model_files
