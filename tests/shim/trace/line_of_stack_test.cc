// Which line a call stack counts for: the process at a refusal, `oomguard report` and `oomguard
// top` say the same.
#include <gtest/gtest.h>
#include <string.h>

#include <string>
#include <vector>

#include "collector/record/append.h"
#include "collector/record/own_code.h"
#include "collector/record/reader.h"
#include "shim/core/session.h"
#include "shim/trace/holders.h"
#include "tests/shim/budget/harness.h"
#include "tools/report/model.h"
#include "tools/top/snapshot.h"

namespace oomguard::trace {
namespace {

using record::Section;

constexpr int64_t kHeld = 64 * budget::kMiB;

struct Call {
  const char* file;
  const char* function;
  uint32_t line;
};
constexpr Call kMain{"/home/me/train.py", "main", 7};
constexpr Call kCallback{"/home/me/hooks.py", "Hooks.on_load", 30};
constexpr Call kCell{"/tmp/ipykernel_4711/2718281828.py", "<module>", 5};
constexpr Call kLibrary{"/v/lib/python3.11/site-packages/torch/nn/modules/linear.py",
                        "Linear.forward", 125};
constexpr Call kStandard{"/usr/lib/python3.11/json/decoder.py", "raw_decode", 353};
constexpr Call kThread{"/usr/lib/python3.11/threading.py", "Thread._bootstrap", 995};
constexpr Call kFrozen{"<frozen runpy>", "_run_code", 88};
constexpr Call kNowhere{"", "made_up", 0};

uint32_t add_node(const record::View& view, uint32_t parent, uint32_t frame) {
  const uint32_t node = record::claim(view, Section::kNodes);
  view.nodes[node].parent = parent;
  view.nodes[node].frame = (frame + 1) | record::kEntry;
  return node;
}

uint32_t python_node(const record::View& view, uint32_t parent, const Call& call) {
  const uint32_t frame = record::claim(view, Section::kFrames);
  view.frames[frame].file = record::add_string(view, call.file, strlen(call.file));
  view.frames[frame].function = record::add_string(view, call.function, strlen(call.function));
  view.frames[frame].line = call.line;
  view.frames[frame].own_code = record::is_own_code(call.file) ? 1 : 0;
  view.frames[frame].kind = static_cast<uint32_t>(record::FrameKind::kPython);
  return add_node(view, parent, frame);
}

uint32_t native_node(const record::View& view, uint32_t parent, const char* path, uint64_t offset) {
  const uint32_t module = record::claim(view, Section::kModules);
  view.modules[module].path = record::add_string(view, path, strlen(path));
  view.modules[module].state = 1;
  const uint32_t frame = record::claim(view, Section::kFrames);
  view.frames[frame].file = module + 1;
  view.frames[frame].offset = offset;
  view.frames[frame].kind = static_cast<uint32_t>(record::FrameKind::kNative);
  return add_node(view, parent, frame);
}

// What each of the three says of a session in which this stack alone holds memory.
struct Answers {
  record::HolderRecord process;
  std::string report, top;
  tools::Frame frame;  // the report's
};

Answers ask(const std::vector<Call>& outermost_first) {
  Answers answers{};
  const record::View& view = session::view();
  record::SiteRecord& site = view.sites[record::claim(view, Section::kSites)];
  for (const Call& call : outermost_first) {
    site.python_node = python_node(view, site.python_node, call);
  }
  site.native_node = native_node(view, 0, "/usr/bin/python3.11", 0x1040);
  site.native_node = native_node(view, site.native_node, "/v/numpy/_multiarray_umath.so", 0x7200);
  site.live_bytes = kHeld;
  site.state = 1;
  EXPECT_EQ(largest_holders(1, nullptr, &answers.process, 1).count, 1u);
  EXPECT_EQ(answers.process.bytes, kHeld);
  const auto flight = record::read_flight(session::path());
  if (!flight) {
    ADD_FAILURE() << flight.error().message;
    return answers;
  }
  const tools::Report report = tools::make_report(*flight);
  for (const tools::Line& line : report.lines) {
    if (line.held.refused_bytes == 0) continue;
    EXPECT_EQ(answers.report, "") << "one line has all";
    answers.frame = report.frames[line.frame];
    answers.report = tools::line_name(*flight, answers.frame);
  }
  answers.top = tools::look_at(*flight).line;
  site.live_bytes = 0;
  return answers;
}

void expect_all_say(const Call& counted, const std::vector<Call>& stack) {
  const Answers answers = ask(stack);
  EXPECT_EQ(answers.frame.file, counted.file);
  EXPECT_EQ(answers.frame.line, static_cast<int>(counted.line));
  EXPECT_EQ(answers.frame.function, counted.function);
  EXPECT_EQ(answers.top, answers.report);
  EXPECT_STREQ(answers.process.file, counted.file);
  EXPECT_EQ(answers.process.line, counted.line);
  EXPECT_STREQ(answers.process.function, counted.function);
  EXPECT_EQ(answers.process.own_code != 0, answers.frame.own);
  const bool marked = strcmp(stack.front().file, kThread.file) == 0 && !answers.frame.own;
  EXPECT_EQ(answers.process.in_thread != 0, marked);
}

TEST(LineOfStack, IsTheSameForTheProcessTheReportAndTop) {
  test::expect_in_child([] {
    const test::Folder folder;
    session::start(folder.path().c_str(), 600 * budget::kMiB, 24 * budget::kMiB, -1, "");
    expect_all_say(kMain, {kFrozen, kMain, kLibrary});
    expect_all_say(kMain, {kMain});
    expect_all_say(kCallback, {kMain, kLibrary, kCallback, kLibrary, kStandard});
    expect_all_say(kCell, {kFrozen, kLibrary, kCell, kLibrary});
    expect_all_say(kLibrary, {kThread, kLibrary});
    expect_all_say(kMain, {kThread, kLibrary, kMain, kLibrary});
    expect_all_say(kStandard, {kFrozen, kLibrary, kStandard});
    expect_all_say(kFrozen, {kFrozen});
    expect_all_say(kNowhere, {kFrozen, kNowhere});
    expect_all_say(kMain, {kMain, kNowhere});
  });
}

TEST(LineOfStack, WithoutPythonIsItsInnermostModule) {
  test::expect_in_child([] {
    const test::Folder folder;
    session::start(folder.path().c_str(), 600 * budget::kMiB, 24 * budget::kMiB, -1, "");
    const Answers answers = ask({});
    EXPECT_STREQ(answers.process.file, "/v/numpy/_multiarray_umath.so");
    EXPECT_EQ(answers.process.line, 0u);
    EXPECT_STREQ(answers.process.function, "");
    EXPECT_EQ(answers.report, "_multiarray_umath.so+0x7200") << "where in it, too";
    EXPECT_EQ(answers.top, "_multiarray_umath.so");
  });
}

}  // namespace
}  // namespace oomguard::trace
