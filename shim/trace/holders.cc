#include "shim/trace/holders.h"

#include <string.h>
#include <time.h>

#include <algorithm>
#include <atomic>

#include "collector/probe/syscall.h"
#include "collector/record/append.h"
#include "shim/budget/ledger.h"
#include "shim/core/copy_text.h"
#include "shim/core/session.h"
#include "shim/trace/sites.h"

namespace oomguard::trace {
namespace {

using record::Section;

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr size_t kQuietLooks = 512;           // of about 15 us
constexpr size_t kQuietLooksMeanwhile = 64;
constexpr uint32_t kDeepest = 512;  // of a stack; for damaged ones, since nodes only lead outwards
constexpr size_t kLines = 2048;
constexpr int kMostWaits = 50;  // of 0.1 ms
constexpr int64_t kWorthALine = 1024 * 1024;

// What a line's key is: the index + 1 of its Python frame; of code that is not Python, of its
// module with this. 0: none.
constexpr uint32_t kIsModule = uint32_t{1} << 31;

struct Line {
  uint32_t key;
  bool outside_threads;  // of one stack at least
  int64_t bytes;
};
constinit Line g_lines[kLines] = {};
constinit std::atomic<bool> g_busy{false};

// The function in which threading.py begins a thread; with its class from 3.11 on.
bool begins_thread(const record::View& view, const record::FrameRecord& frame) noexcept {
  const char* function = view.strings + frame.function;
  return strcmp(function, "Thread._bootstrap") == 0 || strcmp(function, "_bootstrap") == 0;
}

struct Counted {
  uint32_t frame;        // index + 1, 0 where the stack has none
  bool outside_threads;
};

// The frame that stands for a stack: the innermost of the person's own, or else the innermost. The
// commands go by the same rule (tools/report/lines.h).
Counted frame_of(const record::View& view, uint32_t node) noexcept {
  const uint32_t nodes = record::claimed(view, Section::kNodes);
  const uint32_t frames = record::claimed(view, Section::kFrames);
  uint32_t first = 0;
  uint32_t last = 0;
  for (uint32_t depth = 0; node != 0 && node < nodes && depth < kDeepest; ++depth) {
    const uint32_t frame = view.nodes[node].frame.load(std::memory_order_acquire) & ~record::kEntry;
    if (frame == 0 || frame > frames) break;
    if (first == 0) first = frame;
    last = frame;
    if (view.frames[frame - 1].own_code != 0) return {frame, true};
    node = view.nodes[node].parent;
  }
  return {first, last == 0 || !begins_thread(view, view.frames[last - 1])};
}

// Without its bytes.
Line line_of(const record::View& view, const record::SiteRecord& site) noexcept {
  const Counted python = frame_of(view, site.python_node);
  if (python.frame != 0) return {python.frame, python.outside_threads, 0};
  const uint32_t native = frame_of(view, site.native_node).frame;
  const uint32_t module = native == 0 ? 0 : view.frames[native - 1].file;
  const bool known = module != 0 && module <= record::claimed(view, Section::kModules);
  return {known ? kIsModule | module : 0, true, 0};
}

void add(const Line& part) noexcept {
  for (size_t i = 0; i < 32; ++i) {
    Line& line = g_lines[(part.key * 2654435761u + i) % kLines];
    if (line.key != 0 && line.key != part.key) continue;
    line.key = part.key;
    line.outside_threads |= part.outside_threads;
    line.bytes += part.bytes;
    return;
  }
}

// Returns the sum of all, and leaves each stack's bytes with it: most of it is gone when the report
// is read.
int64_t sum_up(const record::View& view) noexcept {
  int64_t sum = 0;
  const uint32_t sites = record::claimed(view, Section::kSites);
  for (uint32_t i = 0; i < sites; ++i) {
    record::SiteRecord& site = view.sites[i];
    if (site.state.load(std::memory_order_acquire) != 1) continue;
    const int64_t bytes =
        std::max<int64_t>(0, site.live_bytes.load(kRelaxed) - site.untouched_bytes.load(kRelaxed));
    if (site.refused_bytes.load(kRelaxed) != bytes) site.refused_bytes.store(bytes, kRelaxed);
    if (bytes == 0) continue;
    sum += bytes;
    Line line = line_of(view, site);
    line.bytes = bytes;
    if (line.key != 0) add(line);
  }
  return sum;
}

void name(const record::View& view, const Line& line, record::HolderRecord* out) noexcept {
  out->bytes = line.bytes;
  if ((line.key & kIsModule) != 0) {
    out->line = out->own_code = out->in_thread = 0;
    out->function[0] = '\0';
    copy_end(out->file, view.strings + view.modules[(line.key & ~kIsModule) - 1].path);
    return;
  }
  const record::FrameRecord& frame = view.frames[line.key - 1];
  out->line = frame.line;
  out->own_code = frame.own_code != 0 ? 1 : 0;
  out->in_thread = line.outside_threads ? 0 : 1;
  copy_end(out->file, view.strings + frame.file);
  copy_text(out->function, sizeof out->function, view.strings + frame.function);
}

void update_untouched() noexcept {
  sites::reset_untouched();
  budget::ledger.each_incomplete([](const budget::Block& block) {
    if (block.site == 0 || block.touched_bytes < 0) return;
    // As the block's weight stands for more than itself, so does what of it is missing.
    const int64_t missing = block.size_bytes - block.touched_bytes;
    if (missing <= 0) return;
    const double share = static_cast<double>(missing) / static_cast<double>(block.size_bytes);
    sites::add_untouched(block.site,
                         static_cast<int64_t>(share * static_cast<double>(block.weight)));
  });
}

// A signal handler may have interrupted the one who is at it, so it is not waited for without end.
bool begin() noexcept {
  for (int i = 0; i < kMostWaits; ++i) {
    if (!g_busy.exchange(true, std::memory_order_acquire)) return true;
    const timespec moment{0, 100'000};
    sys::call(SYS_nanosleep, sys::as_arg(&moment), 0);
  }
  return false;
}

}  // namespace

Holders largest_holders(int64_t now_ns, const probe::Residency* pages, record::HolderRecord* out,
                        uint32_t capacity) noexcept {
  Holders found;
  if (!begin()) return found;
  if (pages != nullptr) budget::ledger.look_at_quiet(kQuietLooks, now_ns, *pages);
  update_untouched();
  memset(g_lines, 0, sizeof g_lines);
  const record::View& view = session::view();
  found.attributed_bytes = sum_up(view);
  for (; found.count < capacity; ++found.count) {
    Line* largest =
        std::max_element(g_lines, g_lines + kLines,
                         [](const Line& a, const Line& b) { return a.bytes < b.bytes; });
    if (largest->bytes < kWorthALine) break;
    name(view, *largest, &out[found.count]);
    *largest = {};
  }
  g_busy.store(false, std::memory_order_release);
  return found;
}

void note_untouched(int64_t now_ns, const probe::Residency& pages) noexcept {
  if (g_busy.exchange(true, std::memory_order_acquire)) return;
  budget::ledger.look_at_quiet(kQuietLooksMeanwhile, now_ns, pages);
  update_untouched();
  g_busy.store(false, std::memory_order_release);
}

void prepare_holders() noexcept {
  // Written once, so that the pages are there when memory is short.
  for (Line& line : g_lines) *const_cast<volatile int64_t*>(&line.bytes) = 0;
}

void forget_holders_users() noexcept { g_busy.store(false, std::memory_order_relaxed); }

}  // namespace oomguard::trace
