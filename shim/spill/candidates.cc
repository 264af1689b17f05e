#include "shim/spill/candidates.h"

#include <algorithm>

#include "collector/probe/kernel_file.h"
#include "collector/probe/mappings.h"
#include "shim/budget/ledger.h"
#include "shim/interpose/libc_block.h"

namespace oomguard::spill {
namespace {

constexpr size_t kMaxCandidates = 16384;

constinit Candidate g_candidates[kMaxCandidates] = {};
constinit size_t g_count = 0;

bool starts_with(const char* text, const char* prefix) {
  while (*prefix != '\0' && *text == *prefix) ++text, ++prefix;
  return *prefix == '\0';
}

bool is_plain(const probe::Mapping& mapping) {
  return mapping.readable && mapping.writable && !mapping.executable && !mapping.shared &&
         !mapping.of_file() &&
         (mapping.name[0] == '\0' || starts_with(mapping.name, "[anon:"));
}

// The header may be read only where maps say that its page is there.
void check(Candidate* candidate) {
  candidate->checked = true;
  interpose::OwnMapping own;
  const uintptr_t page = static_cast<uintptr_t>(probe::page_size());
  if (!interpose::find_own_mapping(reinterpret_cast<void*>(candidate->block), &own)) {
    candidate->end = 0;
    return;
  }
  candidate->mapping = own.start;
  candidate->start = (candidate->block + page - 1) / page * page;
  candidate->end = own.end;
}

}  // namespace

bool survey_mappings(Survey* out) noexcept {
  *out = Survey{};
  const probe::OneShot maps({"/proc/thread-self", "maps"});
  if (!maps) return false;
  probe::CharStream in(maps.fd());
  probe::Mapping mapping;
  while (probe::read_mapping(in, &mapping)) {
    ++out->mappings;
    const char* name = mapping.name;
    if (starts_with(name, "/dev/nvidia") || starts_with(name, "/dev/infiniband") ||
        starts_with(name, "/dev/dri") || starts_with(name, "/dev/kfd") ||
        starts_with(name, "/[aio]")) {
      out->pins = true;
    }
    if (starts_with(name, "anon_inode:[io_uring]")) out->rings = true;
  }
  probe::Bytes most = 65530;
  static_cast<void>(probe::read_single_once({"/proc/sys/vm", "max_map_count"}, &most));
  out->most_mappings = static_cast<size_t>(most / 2);
  return out->mappings > 0;
}

size_t collect_candidates() noexcept {
  g_count = 0;
  for (size_t slot = 0; slot < budget::Ledger::slots() && g_count < kMaxCandidates; ++slot) {
    budget::Block block;
    if (!budget::ledger.at(slot, &block) || !block.from_heap) continue;
    const uintptr_t end = block.address + static_cast<uintptr_t>(block.size_bytes);
    g_candidates[g_count++] = {block.address, 0, block.address, end, block.thread_id, false};
  }
  std::make_heap(g_candidates, g_candidates + g_count,
                 [](const Candidate& a, const Candidate& b) { return a.block < b.block; });
  std::sort_heap(g_candidates, g_candidates + g_count,
                 [](const Candidate& a, const Candidate& b) { return a.block < b.block; });
  return g_count;
}

bool walk_candidates(Visit visit, void* context) noexcept {
  const probe::OneShot maps({"/proc/thread-self", "maps"});
  if (!maps) return false;
  probe::CharStream in(maps.fd());
  probe::Mapping mapping;
  size_t first = 0;
  while (first < g_count && probe::read_mapping(in, &mapping)) {
    if (!is_plain(mapping)) continue;
    for (size_t i = first; i < g_count; ++i) {
      Candidate& candidate = g_candidates[i];
      const uintptr_t header = candidate.block - interpose::kBlockHeader;
      if (header >= mapping.end) break;
      if (!candidate.checked && header >= mapping.start) check(&candidate);
      const uintptr_t from = std::max(candidate.start, mapping.start);
      const uintptr_t to = std::min(candidate.end, mapping.end);
      if (candidate.checked && from < to && !visit(context, candidate, from, to)) return false;
    }
    while (first < g_count && g_candidates[first].end <= mapping.end) ++first;
  }
  return true;
}

}  // namespace oomguard::spill
