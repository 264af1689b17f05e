#include "tools/report/listing.h"

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "tools/report/page_text.h"
#include "tools/report/select.h"

namespace oomguard::tools {
namespace {

constexpr int kDeepest = 8;

std::string local_time(int64_t seconds) {
  const time_t time = static_cast<time_t>(seconds);
  tm parts{};
  char text[32];
  localtime_r(&time, &parts);
  return std::string(text, strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &parts));
}

std::string left(const std::string& text, size_t width) {
  return text + std::string(width - std::min(width, text.size()), ' ') + " ";
}

std::string right(const std::string& text, size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

}  // namespace

std::string listing_head() {
  return left("session", 24) + left("started", 19) + "refusals  " + left("state", 22) + "command\n";
}

std::string listed_line(const Listed& session, int depth) {
  const std::string margin(2 * static_cast<size_t>(std::min(depth, kDeepest)), ' ');
  const std::string name = left(margin + session.file.name, 24);
  if (!session.header) return name + session.fault + "\n";
  return name + left(local_time(session.file.start_seconds), 19) +
         right(std::to_string(session.header->refusals.load()), 8) + "  " +
         left(state_name(*session.header), 22) + shown(session.header->command) + "\n";
}

std::string children_text(const std::string& directory, const record::Flight& flight) {
  const auto sessions = list_by_tree(directory);
  if (!sessions) return "";
  const auto children = below(*sessions, std::filesystem::path(flight.path()).stem());
  if (children.empty()) return "";
  std::string text = "Sessions of processes that it started:\n" + listing_head();
  const int first = children.front()->depth;
  for (const Listed* child : children) text += listed_line(*child, child->depth - first);
  return text;
}

}  // namespace oomguard::tools
