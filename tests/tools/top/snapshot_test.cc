#include "tools/top/snapshot.h"

#include <gtest/gtest.h>

#include <cstring>

#include "collector/record/append.h"
#include "collector/record/own_code.h"
#include "tests/collector/record/fixture.h"

namespace oomguard::tools {
namespace {

using namespace record;

class Snapshot : public testing::Test {
 protected:
  Snapshot() : file_(make_flight()), view_(view_of(file_.get())) {}
  uint32_t node(uint32_t parent, const char* path, const char* function, uint32_t line) {
    const uint32_t index = claim(view_, Section::kFrames);
    FrameRecord& frame = view_.frames[index];
    frame.file = add_string(view_, path, strlen(path));
    frame.function = add_string(view_, function, strlen(function));
    frame.line = line;
    frame.own_code = is_own_code(path) ? 1 : 0;
    frame.kind = static_cast<uint32_t>(FrameKind::kPython);
    const uint32_t made = claim(view_, Section::kNodes);
    view_.nodes[made].parent = parent;
    view_.nodes[made].frame = (index + 1) | kEntry;
    return made;
  }
  void site(uint32_t node, int64_t live) {
    SiteRecord& site = view_.sites[claim(view_, Section::kSites)];
    site.python_node = node;
    site.live_bytes = live;
    site.state = 1;
  }
  void sample(int64_t at_ns, int64_t own) {
    Sample sample{};
    sample.at_monotonic_ns = at_ns;
    sample.own_anonymous_bytes = own;
    sample.needed_bytes = 3 * kGiB;
    sample.limit_bytes = 6 * kGiB;
    sample.headroom_bytes = 3 * kGiB;
    timeline_.add(view_, sample, [](const void*, size_t) { return true; });
  }
  Guarded look() {
    const std::string path = folder_.path() + "/x.flight";
    file_.write(path);
    const auto flight = read_flight(path);
    if (!flight) ADD_FAILURE() << flight.error().message;
    return flight ? look_at(*flight) : Guarded{};
  }
  TemporaryFolder folder_;
  FlightBytes file_;
  View view_;
  Timeline timeline_;
};

TEST_F(Snapshot, NumbersComeFromTheNewestSample) {
  for (int64_t i = 0; i <= 10; ++i) sample((100 + i) * kSecondNs, (50 + 10 * i) * kMiB);
  const Guarded one = look();
  EXPECT_EQ(one.pid, 4242);
  EXPECT_EQ(one.command, "python3 train.py");
  EXPECT_EQ(one.refusals, 3u);
  EXPECT_EQ(one.own_bytes, 150 * kMiB);
  EXPECT_EQ(one.growth_bytes, 10 * kMiB) << "for each second";
  EXPECT_EQ(one.needed_bytes, 3 * kGiB);
  EXPECT_EQ(one.limit_bytes, 6 * kGiB);
}

TEST_F(Snapshot, WithoutASampleNothingIsInvented) {
  const Guarded one = look();
  EXPECT_EQ(one.own_bytes, -1);
  EXPECT_EQ(one.growth_bytes, 0);
  EXPECT_EQ(one.line, "");
  EXPECT_NE(table_of({one}, SIZE_MAX, 0).find("    -"), std::string::npos);
}

TEST_F(Snapshot, TheLineIsThePersonsOwn) {
  const uint32_t main = node(0, "/home/me/train.py", "main", 7);
  const uint32_t load = node(main, "/v/lib/python3.11/site-packages/torch/x.py", "load", 900);
  const uint32_t other = node(main, "/home/me/data.py", "Data.read", 12);
  site(load, 70 * kMiB);
  site(main, 40 * kMiB);
  site(other, 90 * kMiB);
  const Guarded one = look();
  EXPECT_EQ(one.line, "train.py:7 main") << "70 and 40 MiB are more than 90";
  EXPECT_EQ(one.line_bytes, 110 * kMiB);
}

TEST_F(Snapshot, CodeOfLibrariesAloneIsNamedByItsInnermostFrame) {
  const uint32_t outer = node(0, "<frozen runpy>", "run", 1);
  site(node(outer, "/usr/lib/python3/dist-packages/a.py", "f", 3), kMiB);
  EXPECT_EQ(look().line, "a.py:3 f");
}

TEST_F(Snapshot, TheTableFitsTheTerminal) {
  Guarded one = look();
  one.line = "a.py:1 f\x1b[31m";
  one.command = "python \xc3\xa4\xc3\xa4\xc3\xa4 " + std::string(300, 'x');
  const std::string text = table_of({one, one, one, one}, 170, 3);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3) << "a head and two rows";
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  size_t columns = 0;
  for (const char c : text) {
    if (c == '\n') {
      EXPECT_LE(columns, 170u);
      columns = 0;
    } else if ((c & 0xc0) != 0x80) {
      ++columns;
    }
  }
}

}  // namespace
}  // namespace oomguard::tools
