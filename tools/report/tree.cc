#include "tools/report/tree.h"

#include <algorithm>
#include <utility>

namespace oomguard::tools {
namespace {

constexpr size_t kNobody = SIZE_MAX;

// Who started it: of the sessions with its parent's number in its tree the last that began before
// it. Strictly before, so that whatever the files say there is no circle.
size_t parent_of(const std::vector<Listed>& all, size_t child) {
  size_t parent = kNobody;
  const record::FlightHeader* header = all[child].header.get();
  if (header == nullptr || header->tree == 0) return kNobody;
  for (size_t i = 0; i < all.size(); ++i) {
    const record::FlightHeader* other = all[i].header.get();
    if (other == nullptr || other->tree != header->tree || other->pid != header->parent_pid ||
        other->start_realtime_ns >= header->start_realtime_ns) {
      continue;
    }
    if (parent == kNobody || all[parent].header->start_realtime_ns < other->start_realtime_ns)
      parent = i;
  }
  return parent;
}

void move_with_children(std::vector<Listed>* from, const std::vector<size_t>& parents, size_t at,
                        int depth, std::vector<Listed>* to) {
  (*from)[at].depth = depth;
  to->push_back(std::move((*from)[at]));
  for (size_t i = 0; i < parents.size(); ++i) {
    if (parents[i] == at) move_with_children(from, parents, i, depth + 1, to);
  }
}

}  // namespace

Result<std::vector<Listed>> list_by_tree(const std::string& directory) {
  auto sessions = record::list_sessions(directory);
  if (!sessions) return sessions.error();
  std::vector<Listed> all;
  for (record::SessionFile& session : *sessions) {
    auto header = record::read_header(session.path);
    Listed listed;
    if (header) {
      listed.header = std::move(*header);
    } else {
      listed.fault = header.error().message;
    }
    listed.file = std::move(session);
    all.push_back(std::move(listed));
  }
  std::vector<size_t> parents(all.size());
  for (size_t i = 0; i < all.size(); ++i) parents[i] = parent_of(all, i);
  std::vector<Listed> ordered;
  for (size_t i = 0; i < parents.size(); ++i) {
    if (parents[i] == kNobody) move_with_children(&all, parents, i, 0, &ordered);
  }
  return ordered;
}

std::vector<const Listed*> below(const std::vector<Listed>& all, const std::string& name) {
  std::vector<const Listed*> found;
  auto at = std::find_if(all.begin(), all.end(),
                         [&](const Listed& one) { return one.file.name == name; });
  if (at == all.end()) return found;
  const int depth = at->depth;
  for (++at; at != all.end() && at->depth > depth; ++at) found.push_back(&*at);
  return found;
}

}  // namespace oomguard::tools
