#include "collector/probe/memory_view.h"

#include <algorithm>

#include "collector/probe/kernel_text.h"

namespace oomguard::probe {
namespace {

// A page, in which sysconf counts. psutil makes up a number of its own where nothing is available.
constexpr Bytes kLeast = 4096;

struct Cap {
  const char* key;
  Bytes bytes;
};

Bytes whole_pages(Bytes bytes, Bytes most) {
  return std::clamp(bytes, std::min(kLeast, most), most) / kLeast * kLeast;
}

char* end_of_line(char* at, char* end) {
  while (at != end && *at != '\n') ++at;
  return at;
}

// Writes `kib` over the digits [first, last), right-aligned as the kernel does. It has no more of
// them.
void write_over(char* first, char* last, Bytes kib) {
  while (last != first) {
    *--last = kib == 0 ? ' ' : static_cast<char>('0' + kib % 10);
    kib /= 10;
  }
}

void lower_line(char* line, char* end, const Cap& cap) {
  KeyedValue value{cap.key};
  match_line(line, end, &value, 1);
  if (!value.found || value.value <= cap.bytes) return;
  if (end[-1] != 'B') return;  // no amount of memory
  char* const last = end - 3;  // before " kB"
  char* first = last;
  while (first[-1] >= '0' && first[-1] <= '9') --first;
  write_over(first, last, cap.bytes / 1024);
  if (cap.bytes < 1024) last[-1] = '0';
}

}  // namespace

bool view_of(const Reading& reading, Bytes machine_total, Bytes kept, uint32_t swap_share_permille,
             MemoryView* out) {
  bool limited = false;
  Bytes total = machine_total;
  for (uint32_t i = 0; i < reading.level_count; ++i) {
    const Level& level = reading.levels[i];
    if (level.kind == LimitKind::kMachine || level.limit >= machine_total) continue;
    limited = true;
    const bool is_address_space =
        level.kind == LimitKind::kRlimitAs || level.kind == LimitKind::kRlimitData;
    if (!is_address_space) total = std::min(total, level.limit);
  }
  const Headroom memory = headroom(reading, 0);
  const Headroom with_swap = headroom(reading, swap_share_permille);
  const Level* level = binding(reading, memory);
  const Level* swaps = binding(reading, with_swap);
  if (!limited || level == nullptr || swaps == nullptr) return false;
  out->total = whole_pages(total, machine_total);
  out->available = whole_pages(memory.bytes - kept, out->total);
  out->free = whole_pages(memory.bytes - kept - level->reclaimable, out->available);
  out->swap_free = std::max<Bytes>(0, with_swap.bytes - std::max(memory.bytes, kept));
  out->swap_total = out->swap_free + swaps->swap_used;
  return true;
}

void lower_meminfo(char* text, size_t size, const MemoryView& view) {
  char* const end = text + size;
  KeyedValue kernels[] = {{"MemFree:"}, {"MemAvailable:"}, {"MemTotal:"}};
  for (char* line = text; line < end; line = end_of_line(line, end) + 1) {
    match_line(line, end_of_line(line, end), kernels, 3);
  }
  const Bytes free = std::min(view.free, kernels[0].value);
  const Bytes available = std::min(view.available, kernels[1].value);
  const Bytes total = std::min(view.total, kernels[2].value);
  const Bytes cached = std::max<Bytes>(0, available - free);
  const Bytes in_use = std::max<Bytes>(0, total - available);
  const Cap caps[] = {
      {"MemTotal:", total},        {"MemFree:", free},          {"MemAvailable:", available},
      {"Buffers:", 0},             {"Cached:", cached},         {"SwapCached:", 0},
      {"Active:", in_use + cached}, {"Inactive:", in_use + cached},
      {"Active(anon):", in_use},   {"Inactive(anon):", in_use}, {"Active(file):", cached},
      {"Inactive(file):", cached}, {"Unevictable:", in_use},    {"Mlocked:", in_use},
      {"SwapTotal:", view.swap_total}, {"SwapFree:", view.swap_free},
      {"Dirty:", cached},          {"AnonPages:", in_use},      {"Mapped:", in_use + cached},
      {"Shmem:", in_use},          {"KReclaimable:", 0},        {"Slab:", in_use},
      {"SReclaimable:", 0},        {"SUnreclaim:", in_use},
  };
  for (char* line = text; line < end; line = end_of_line(line, end) + 1) {
    for (const Cap& cap : caps) lower_line(line, end_of_line(line, end), cap);
  }
}

}  // namespace oomguard::probe
