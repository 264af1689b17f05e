#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "collector/record/reader.h"
#include "tests/collector/record/fixture.h"

namespace oomguard::record {
namespace {

constexpr uint32_t kPython = static_cast<uint32_t>(FrameKind::kPython);
constexpr uint32_t kNative = static_cast<uint32_t>(FrameKind::kNative);

class ReaderSections : public testing::Test {
 protected:
  ReaderSections() : file_(make_flight()), view_(view_of(file_.get())) {}
  uint32_t take(Section section, uint32_t count = 1) {
    return view_.section(section).used.fetch_add(count);
  }
  uint32_t string(const char* text) {
    const auto bytes = static_cast<uint32_t>(strlen(text) + 1);
    const uint32_t id = take(Section::kStrings, bytes);
    memcpy(view_.strings + id, text, bytes);
    return id;
  }
  uint32_t python(const char* file, const char* function, uint32_t line) {
    const uint32_t index = take(Section::kFrames);
    FrameRecord& frame = view_.frames[index];
    frame.file = string(file);
    frame.function = string(function);
    frame.line = line;
    frame.kind = kPython;
    return index;
  }
  uint32_t native(uint32_t module, uint64_t offset) {
    const uint32_t index = take(Section::kFrames);
    view_.frames[index].file = module;
    view_.frames[index].offset = offset;
    view_.frames[index].kind = kNative;
    return index;
  }
  uint32_t node(uint32_t parent, uint32_t frame, uint32_t flag = 0) {
    const uint32_t index = take(Section::kNodes);
    view_.nodes[index].parent = parent;
    view_.nodes[index].frame = (frame + 1) | flag;
    return index;
  }
  SiteRecord& site(uint32_t python_node, uint32_t native_node, int64_t live) {
    SiteRecord& record = view_.sites[take(Section::kSites)];
    record.python_node = python_node;
    record.native_node = native_node;
    record.live_bytes = live;
    record.allocated_bytes = live;
    record.state = 1;
    return record;
  }
  Flight read() {
    const std::string path = folder_.path() + "/x.flight";
    file_.write(path);
    auto flight = read_flight(path);
    if (!flight) ADD_FAILURE() << flight.error().message;
    return std::move(*flight);
  }
  TemporaryFolder folder_;
  FlightBytes file_;
  View view_;
};

TEST_F(ReaderSections, GivesStacksFromTheOutermostFrameToTheLeaf) {
  const uint32_t main = node(0, python("train.py", "<module>", 7), kEntry);
  const uint32_t leaf = node(main, python("model.py", "Model.load", 40));
  const uint32_t module = take(Section::kModules);
  view_.modules[module].path = string("/usr/lib/libtorch.so");
  view_.modules[module].bias = 0x1000;
  view_.modules[module].build_id[0] = 0xab;
  view_.modules[module].build_id_bytes = 2;
  view_.modules[module].state = 1;
  const uint32_t outer = node(0, native(module + 1, 0x10));
  const uint32_t inner = node(outer, native(0, 0x7fff));
  site(leaf, inner, 5 * kMiB);
  const Flight flight = read();
  ASSERT_EQ(flight.sites().size(), 1u);
  EXPECT_EQ(flight.sites()[0].live_bytes, 5 * kMiB);
  const auto stack = flight.python_stack(flight.sites()[0]);
  ASSERT_EQ(stack.size(), 2u);
  EXPECT_EQ(stack[0].file, "train.py");
  EXPECT_EQ(stack[0].function, "<module>");
  EXPECT_TRUE(stack[0].entry);
  EXPECT_EQ(stack[1].function, "Model.load");
  EXPECT_EQ(stack[1].line, 40u);
  EXPECT_FALSE(stack[1].entry);
  const auto frames = flight.native_stack(flight.sites()[0]);
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0].module, 0);
  EXPECT_EQ(frames[0].offset, 0x10u);
  EXPECT_EQ(frames[1].module, -1);
  ASSERT_EQ(flight.modules().size(), 1u);
  EXPECT_EQ(flight.modules()[0].build_id, "ab00");
  EXPECT_EQ(flight.modules()[0].path, "/usr/lib/libtorch.so");
}

TEST_F(ReaderSections, ModelFilesAndWhatIsNotPublishedYet) {
  const uint32_t index = take(Section::kModelFiles, 2);
  view_.model_files[index].path = string("/models/a.safetensors");
  view_.model_files[index].size_bytes = 7 * kGiB;
  view_.model_files[index].state = 1;
  site(0, 0, kMiB);
  site(0, 0, kMiB).state = 0;
  site(0, 0, 0);
  const Flight flight = read();
  ASSERT_EQ(flight.model_files().size(), 1u);
  EXPECT_EQ(flight.model_files()[0].path, "/models/a.safetensors");
  EXPECT_EQ(flight.sites().size(), 1u) << "neither the unfinished one nor the empty one";
  EXPECT_TRUE(flight.python_stack(flight.sites()[0]).empty());
}

TEST_F(ReaderSections, ACycleOfNodesEnds) {
  const uint32_t frame = python("a.py", "f", 1);
  const uint32_t first = node(0, frame);
  const uint32_t second = node(first, frame);
  view_.nodes[first].parent = second;
  site(second, 0, 1);
  const Flight flight = read();
  EXPECT_EQ(flight.python_stack(flight.sites()[0]).size(), 2u);
}

TEST_F(ReaderSections, IndicesBeyondWhatIsThereAreNoFrames) {
  site(0xffffffff, 0x7fffffff, 1);
  const uint32_t leaf = node(0, 0x0fffffff);
  site(leaf, 0, 1);
  const uint32_t frame = python("a.py", "f", 1);
  view_.frames[frame].file = 0xfffffff0;
  view_.frames[frame].function = view_.section(Section::kStrings).used.load();
  site(node(0, frame), node(0, native(0xffffffff, 1)), 1);
  const Flight flight = read();
  ASSERT_EQ(flight.sites().size(), 3u);
  EXPECT_TRUE(flight.python_stack(flight.sites()[0]).empty());
  EXPECT_TRUE(flight.native_stack(flight.sites()[0]).empty());
  EXPECT_TRUE(flight.python_stack(flight.sites()[1]).empty());
  const auto stack = flight.python_stack(flight.sites()[2]);
  ASSERT_EQ(stack.size(), 1u);
  EXPECT_EQ(stack[0].file, "");
  EXPECT_EQ(stack[0].function, "");
  EXPECT_EQ(flight.native_stack(flight.sites()[2]).at(0).module, -1);
}

TEST_F(ReaderSections, AStringWithoutAnEndIsCut) {
  const uint32_t id = take(Section::kStrings, 5000);
  memset(view_.strings + id, 'x', 5000);
  const uint32_t index = take(Section::kModelFiles);
  view_.model_files[index].path = id;
  view_.model_files[index].state = 1;
  EXPECT_EQ(read().model_files().at(0).path.size(), kLongestString);
  view_.model_files[index].path = id + 4990;
  EXPECT_EQ(read().model_files().at(0).path.size(), 10u) << "not beyond what is used";
}

TEST_F(ReaderSections, MoreThanItsCapacityIsAFullSection) {
  for (auto section : {Section::kSites, Section::kNodes, Section::kFrames, Section::kStrings,
                       Section::kModules, Section::kModelFiles, Section::kTimeline}) {
    view_.section(section).used = 0xffffffff;
  }
  const Flight flight = read();
  EXPECT_EQ(flight.modules().size(), view_.capacity(Section::kModules));
  EXPECT_TRUE(flight.sites().empty());
}

TEST_F(ReaderSections, SumsOverSitesFit) {
  for (int i = 0; i < 20; ++i) site(0, 0, INT64_MAX);
  site(0, 0, INT64_MIN).allocated_bytes = 1;
  const Flight flight = read();
  int64_t sum = 0;
  for (const Site& site : flight.sites()) {
    EXPECT_GE(site.live_bytes, 0);
    ASSERT_FALSE(__builtin_add_overflow(sum, site.live_bytes, &sum));
  }
}

TEST_F(ReaderSections, ADeepStackIsCutAtItsOuterEnd) {
  const uint32_t frame = python("a.py", "f", 1);
  uint32_t leaf = 0;
  for (int i = 0; i < 3000; ++i) leaf = node(leaf, frame);
  site(leaf, 0, 1);
  const Flight flight = read();
  EXPECT_EQ(flight.python_stack(flight.sites()[0]).size(), Flight::kDeepestStack);
}

}  // namespace
}  // namespace oomguard::record
