#include "tools/report/lines.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <numeric>

#include "collector/record/mask.h"

namespace oomguard::tools {
namespace {

constexpr size_t kLongestSource = 200;
constexpr off_t kLargestFile = off_t{16} << 20;

struct Close {
  void operator()(FILE* file) const { fclose(file); }
};
using File = std::unique_ptr<FILE, Close>;

File open_source(const std::string& path, int64_t unchanged_since_seconds) {
  // O_NONBLOCK: a pipe under that name must not hold the reader up.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return nullptr;
  struct stat info{};
  const bool usable = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
                      info.st_uid == geteuid() && info.st_size <= kLargestFile &&
                      info.st_mtime <= unchanged_since_seconds;
  FILE* file = usable ? fdopen(fd, "r") : nullptr;
  if (file == nullptr) ::close(fd);
  return File(file);
}

std::string masked(std::string line) {
  const char* space = " \t\r\n\f\v";
  const size_t first = line.find_first_not_of(space);
  if (first == std::string::npos) return "";
  line = line.substr(first, line.find_last_not_of(space) - first + 1);
  std::replace(line.begin(), line.end(), '\0', ' ');
  std::string out(line.size() + 64, '\0');
  out.resize(record::mask_command(line.data(), line.size(), out.data(), out.size()));
  if (out.size() > kLongestSource) {
    out.resize(kLongestSource);
    while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xc0) == 0x80) out.pop_back();
    if (!out.empty() && (static_cast<unsigned char>(out.back()) & 0x80) != 0) out.pop_back();
    out += "...";
  }
  return out;
}

}  // namespace

Held& Held::operator+=(const Held& other) {
  live_bytes += other.live_bytes;
  live_blocks += other.live_blocks;
  allocated_bytes += other.allocated_bytes;
  allocated_blocks += other.allocated_blocks;
  untouched_bytes += other.untouched_bytes;
  refused_bytes += other.refused_bytes;
  return *this;
}

int frame_of_line(const std::vector<record::PythonFrame>& stack) {
  for (size_t i = stack.size(); i-- > 0;) {
    if (stack[i].own) return static_cast<int>(i);
  }
  return static_cast<int>(stack.size()) - 1;
}

std::vector<Line> sum_by_line(const std::vector<SiteStacks>& sites, int64_t Held::* by) {
  std::map<int, Line> by_frame;
  for (const SiteStacks& site : sites) {
    Line& line = by_frame[site.line];
    line.frame = site.line;
    ++line.stacks;
    line.held += site.held;
  }
  std::vector<Line> lines;
  for (auto& [frame, line] : by_frame) lines.push_back(std::move(line));
  std::stable_sort(lines.begin(), lines.end(), [by](const Line& a, const Line& b) {
    if (a.held.*by != b.held.*by) return a.held.*by > b.held.*by;
    return a.held.allocated_bytes > b.held.allocated_bytes;
  });
  return lines;
}

std::string source_line(const std::string& path, int number, int64_t unchanged_since_seconds) {
  if (number <= 0 || path.empty() || path[0] != '/') return "";
  const File file = open_source(path, unchanged_since_seconds);
  if (file == nullptr) return "";
  std::string line;
  int at = 1;
  for (int c = 0; at <= number && (c = getc(file.get())) != EOF;) {
    if (c == '\n') {
      ++at;
    } else if (at == number && line.size() < size_t{4096}) {
      line += static_cast<char>(c);
    }
  }
  return masked(line);
}

}  // namespace oomguard::tools
