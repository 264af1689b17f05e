#include "tools/report/formats.h"

namespace oomguard::tools {
namespace {

// A frame's name without what separates frames and lines.
std::string folded_name(const std::string& label) {
  std::string name = label;
  for (char& c : name) {
    if (c == ';') c = ',';
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
  }
  return name;
}

}  // namespace

std::string report_folded(const Report& report) {
  std::vector<std::string> names;
  for (const Frame& frame : report.frames.all()) {
    names.push_back(folded_name(label_of(*report.flight, frame)));
  }
  std::string text;
  for (const SiteStacks& site : report.sites) {
    if (site.held.*report.held <= 0) continue;
    const std::vector<int> frames = report.merged.frames_of(site.merged);
    std::string stack = frames.empty() ? "(no frame known)" : "";
    for (const int frame : frames) {
      if (!stack.empty()) stack += ';';
      stack += names[static_cast<size_t>(frame)];
    }
    text += stack + " " + std::to_string(site.held.*report.held) + "\n";
  }
  return text;
}

}  // namespace oomguard::tools
