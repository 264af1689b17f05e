#include <gtest/gtest.h>

#include "collector/fit/pickle.h"
#include "collector/fit/predict.h"
#include "collector/fit/weights.h"
#include "tests/collector/fit/bytes.h"

namespace oomguard::fit {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

std::string pickled_text(const std::string& text) {
  return "X" + little(static_cast<uint32_t>(text.size())) + text;
}

std::string pickled_number(int64_t number) { return "J" + little(static_cast<int32_t>(number)); }

// _rebuild_tensor_v2 and its arguments: a REDUCE is still to come.
std::string arguments(const std::string& storage, int64_t offset, const std::vector<int>& shape) {
  std::string text = "ctorch._utils\n_rebuild_tensor_v2\n((" + pickled_text("storage") +
                     "ctorch\nFloatStorage\n" + pickled_text(storage) + pickled_text("cpu") +
                     "K\4tQ" + pickled_number(offset) + "(";
  for (const int length : shape) text += pickled_number(length);
  return text + "tK\1\x85\x89Nt";
}

std::string tensor(const std::string& name, const std::string& storage, int64_t offset,
                   const std::vector<int>& shape) {
  return pickled_text(name) + arguments(storage, offset, shape) + "R";
}

std::string dictionary(const std::string& items) { return "\x80\2}(" + items + "u."; }

struct Stored {
  std::string name;
  std::string bytes;
  uint16_t method = 0;
};

// A zip archive; sizes are what they are, whatever `method` says.
std::string zip(const std::vector<Stored>& members) {
  std::string file;
  std::string directory;
  for (const Stored& one : members) {
    const auto size = static_cast<uint32_t>(one.bytes.size());
    const std::string rest = little(uint16_t{0}) + little(one.method) + std::string(8, '\0') +
                             little(size) + little(size) +
                             little(static_cast<uint16_t>(one.name.size())) + little(uint16_t{0});
    directory += std::string("PK\1\2\0\0", 6) + little(uint16_t{0}) + rest +
                 std::string(10, '\0') + little(static_cast<uint32_t>(file.size())) + one.name;
    file += std::string("PK\3\4", 4) + little(uint16_t{0}) + rest + one.name + one.bytes;
  }
  const auto count = little(static_cast<uint16_t>(members.size()));
  return file + directory + std::string("PK\5\6\0\0\0\0", 8) + count + count +
         little(static_cast<uint32_t>(directory.size())) +
         little(static_cast<uint32_t>(file.size())) + little(uint16_t{0});
}

class Torch : public testing::Test {
 protected:
  Result<Checkpoint> open(const std::string& items, const std::vector<Stored>& storages) {
    std::vector<Stored> members = {{"m/data.pkl", dictionary(items)}};
    members.insert(members.end(), storages.begin(), storages.end());
    return open_checkpoint(folder_.write("m.pt", zip(members)));
  }
  Folder folder_;
};

TEST_F(Torch, SlicesOfOneStorageAreNoTies) {
  const auto all = open(tensor("q", "0", 0, {2, 4}) + tensor("k", "0", 8, {2, 4}) +
                            tensor("v", "0", 16, {2, 4}) + tensor("tied", "0", 16, {4, 2}) +
                            tensor("whole", "0", 0, {24}),
                        {{"m/data/0", std::string(96, 'w')}});
  ASSERT_TRUE(all) << all.error().message;
  const std::vector<Tensor>& tensors = all->parts[0].tensors;
  ASSERT_EQ(tensors.size(), 5u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_FALSE(tensors[i].shares) << i;
    EXPECT_EQ(tensors[i].bytes, 32) << i;
  }
  EXPECT_TRUE(tensors[3].shares);
  EXPECT_EQ(tensors[3].bytes, 0);
  // What others have shown already is counted once.
  EXPECT_FALSE(tensors[4].shares);
  EXPECT_EQ(tensors[4].bytes, 0);
  EXPECT_EQ(sums_of(*all).parameters, 48);
  const Weights weights = weights_of(all->parts[0], {.dtype = Dtype::kBfloat16});
  EXPECT_EQ(weights.made, 96);
  EXPECT_EQ(weights.made_again, 16);
  EXPECT_EQ(weights.made_in_file, 96);
}

TEST_F(Torch, ACompressedStorageIsRefused) {
  const std::string one = tensor("w", "0", 0, {2});
  EXPECT_TRUE(open(one, {{"m/data/0", "12345678"}}));
  const auto all = open(one, {{"m/data/0", "12345678", 8}});
  ASSERT_FALSE(all);
  EXPECT_NE(all.error().message.find("member m/data/0 is compressed"), std::string::npos);
}

TEST_F(Torch, AStorageThatIsNotThereIsNamed) {
  const auto all = open(tensor("w", "7", 0, {2}), {{"m/data/0", "12345678"}});
  ASSERT_FALSE(all);
  EXPECT_NE(all.error().message.find("tensor w: its data/7 is not there"), std::string::npos);
}

// One text that the pickle names again and again.
TEST_F(Torch, ANameOfManyTensorsIsNotCopiedWithoutBound) {
  const auto repeated = [](size_t length) {
    std::string items = pickled_text(std::string(length, 'n')) + std::string("q\0", 2) +
                        arguments("0", 0, {2}) + "q\1" + "R";
    // The callee is below the arguments: it is taken from a second copy.
    items += std::string("h\0", 2) + "ctorch._utils\n_rebuild_tensor_v2\nq\2h\1R";
    for (int i = 0; i < 20000; ++i) items += std::string("h\0h\2h\1R", 7);
    return items;
  };
  const std::vector<Stored> storages = {{"m/data/0", "12345678"}};
  EXPECT_TRUE(open(repeated(100), storages));
  const auto many = open(repeated(4096), storages);
  ASSERT_FALSE(many);
  EXPECT_NE(many.error().message.find("names of more than 64 MiB"), std::string::npos);
  std::vector<PickledTensor> tensors;
  EXPECT_TRUE(walk_pickle(dictionary(repeated(4096)), &tensors));
  EXPECT_FALSE(walk_pickle(dictionary(repeated(kMiB)), &tensors));
}

TEST(Pickle, StoragesAndShapesAreBounded) {
  std::vector<PickledTensor> tensors;
  const auto walk = [&](const std::string& items) {
    return walk_pickle(dictionary(items), &tensors);
  };
  EXPECT_TRUE(walk(tensor("w", "0", 0, std::vector<int>(64, 1))));
  EXPECT_FALSE(walk(tensor("w", "0", 0, std::vector<int>(65, 1))));
  EXPECT_TRUE(walk(tensor("w", std::string(4096, '0'), 0, {1})));
  EXPECT_FALSE(walk(tensor("w", std::string(4097, '0'), 0, {1})));
}

TEST(Pickle, WhatIsCutOffOrUnknownIsNoPickle) {
  std::vector<PickledTensor> tensors;
  EXPECT_TRUE(walk_pickle(std::string_view("\x80\x02}.", 4), &tensors));
  for (const char* text :
       {"", "\x80", "}", "q", "h\1.", "R.", "Q.", "u.", "t.", "X\377\377\377\377.", "i."}) {
    EXPECT_FALSE(walk_pickle(text, &tensors)) << text;
  }
}

}  // namespace
}  // namespace oomguard::fit
