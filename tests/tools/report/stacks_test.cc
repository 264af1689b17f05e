#include "tools/report/stacks.h"

#include <gtest/gtest.h>

namespace oomguard::tools {
namespace {

using Stack = std::vector<int>;

NativePart library(int frame) { return {frame}; }
NativePart loop(int frame) { return {frame, true, true, false}; }
NativePart glue(int frame) { return {frame, false, true, true}; }
NativePart interpreter(int frame) { return {frame, false, true, false}; }

TEST(Merge, PutsPythonFramesInPlaceOfTheLoopThatRanThem) {
  // main -> loop (1, 2 share it) -> a C extension -> loop (3) -> malloc
  const Stack merged = merge({{1, true}, {2, false}, {3, true}},
                             {glue(10), loop(11), library(12), loop(13), library(14)});
  EXPECT_EQ(merged, (Stack{1, 2, 12, 3, 14}));
}

TEST(Merge, HasOneLoopForEachFrameBefore311) {
  const Stack merged =
      merge({{1, true}, {2, true}}, {loop(10), glue(11), loop(12), interpreter(13), library(14)});
  EXPECT_EQ(merged, (Stack{1, 2, 13, 14}));
}

TEST(Merge, MatchesFromTheInnermostWhereOuterFramesAreMissing) {
  // The native stack was cut: what of Python it no longer has is outermost.
  EXPECT_EQ(merge({{1, true}, {2, true}, {3, true}}, {library(10), loop(11), library(12)}),
            (Stack{1, 2, 10, 3, 12}));
  // The Python stack was cut: a loop without a frame is left out.
  EXPECT_EQ(merge({{3, true}}, {loop(9), library(10), loop(11), library(12)}), (Stack{3, 12}));
}

TEST(Merge, BeginsWithPythonWhereThereIsAny) {
  EXPECT_EQ(merge({{1, true}}, {library(8), library(9), loop(10), library(11)}), (Stack{1, 11}));
}

TEST(Merge, LeavesOutWhatHasNoNameBetweenTwoCallsOfTheLoop) {
  const auto nameless = [](int frame) { return NativePart{frame, false, true, false, true}; };
  EXPECT_EQ(merge({{1, true}, {2, true}},
                  {loop(9), nameless(10), library(11), loop(12), nameless(13)}),
            (Stack{1, 11, 2, 13}));
}

TEST(Merge, TakesOneOfBothAlone) {
  EXPECT_EQ(merge({{1, true}, {2, false}}, {}), (Stack{1, 2}));
  EXPECT_EQ(merge({}, {library(10), library(11)}), (Stack{10, 11}));
  EXPECT_TRUE(merge({}, {}).empty());
}

TEST(Merge, GoesByTheModuleWhereTheLoopIsNotKnown) {
  // sorted() called back: two runs of the interpreter around a library, and two entries.
  const std::vector<NativePart> native = {interpreter(9),  interpreter(10), library(11),
                                          interpreter(12), interpreter(13), library(14)};
  EXPECT_EQ(merge({{1, true}, {2, false}, {3, true}}, native), (Stack{1, 2, 11, 3, 14}));
  // More entries than runs: what is left belongs to the outermost run.
  EXPECT_EQ(merge({{1, true}, {2, true}, {3, true}}, native), (Stack{1, 2, 11, 3, 14}));
  EXPECT_EQ(merge({{1, true}, {2, true}}, {interpreter(9), library(14)}), (Stack{1, 2, 14}));
}

TEST(Merge, KnowsTheLoopAndWhatLeadsToIt) {
  EXPECT_TRUE(is_evaluation_loop("_PyEval_EvalFrameDefault"));
  EXPECT_TRUE(is_evaluation_loop("_PyEval_EvalFrameDefault.cold"));
  EXPECT_FALSE(is_evaluation_loop("PyEval_EvalCode"));
  EXPECT_TRUE(is_call_glue("PyEval_EvalCode"));
  EXPECT_TRUE(is_call_glue("_PyFunction_Vectorcall"));
  EXPECT_TRUE(is_call_glue("main"));
  EXPECT_FALSE(is_call_glue("mainly"));
  EXPECT_FALSE(is_call_glue("list_resize"));
}

TEST(Stacks, ShareTheirBeginnings) {
  Stacks stacks;
  EXPECT_EQ(stacks.add({}), 0);
  const int first = stacks.add({5, 6, 7});
  const int second = stacks.add({5, 6, 8});
  EXPECT_EQ(stacks.add({5, 6, 7}), first);
  EXPECT_EQ(stacks.parents().size(), 5u);
  EXPECT_EQ(stacks.frames_of(first), (Stack{5, 6, 7}));
  EXPECT_EQ(stacks.frames_of(second), (Stack{5, 6, 8}));
  EXPECT_TRUE(stacks.frames_of(0).empty());
}

TEST(Frames, AreTheSameOnlyWhereEverythingIs) {
  Frames frames;
  Frame frame;
  frame.python = true;
  frame.file = "train.py";
  frame.line = 3;
  const int first = frames.add(frame);
  EXPECT_EQ(frames.add(frame), first);
  frame.line = 4;
  EXPECT_NE(frames.add(frame), first);
}

TEST(Cells, AreNamedByTheirNumberWhereItIsKnown) {
  EXPECT_EQ(cell_name("<ipython-input-12-0a1b2c>"), "cell [12]");
  EXPECT_EQ(cell_name("<ipython-input-x>"), "notebook cell");
  EXPECT_EQ(cell_name("/tmp/ipykernel_4711/2718281828.py"), "notebook cell");
  EXPECT_EQ(cell_name("/home/ada/train.py"), "");
  EXPECT_EQ(cell_name("/tmp/ipykernel_4711.py"), "");
}

}  // namespace
}  // namespace oomguard::tools
