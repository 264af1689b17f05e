#include "tools/report/newest.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "tools/report/lines.h"

namespace oomguard::tools {

std::vector<record::PythonFrame> newest_stack(const record::Flight& flight) {
  std::map<uint32_t, int64_t> asked;  // by index of the site
  for (const auto& slot : flight.header().newest) {
    const uint64_t sample = slot.load();
    const auto site = static_cast<uint32_t>(sample >> 32);
    if (site != 0) asked[site - 1] += static_cast<int64_t>(sample & UINT32_MAX) << 10;
  }
  std::map<std::pair<std::string, uint32_t>, int64_t> by_line;
  std::vector<record::PythonFrame> best;
  int64_t most = 0;
  for (const record::Site& site : flight.sites()) {
    const auto at = asked.find(site.index);
    if (at == asked.end()) continue;
    std::vector<record::PythonFrame> stack = flight.python_stack(site);
    const int top = frame_of_line(stack);
    if (top < 0) continue;
    const record::PythonFrame& frame = stack[static_cast<size_t>(top)];
    // What was freed again did not fill the memory.
    int64_t& bytes = by_line[{frame.file, frame.line}];
    bytes += std::min(at->second, site.live_bytes);
    if (bytes <= most) continue;
    most = bytes;
    best = std::move(stack);
  }
  return best;
}

}  // namespace oomguard::tools
