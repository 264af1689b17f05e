#include "collector/fit/files.h"

#include <gtest/gtest.h>

#include "tests/collector/fit/bytes.h"

namespace oomguard::fit {
namespace {

class Files : public testing::Test {
 protected:
  // What is wrong with the file, "" where nothing is; its tensors are in tensors_.
  std::string wrong(const std::string& bytes) {
    tensors_.clear();
    const auto all = open_checkpoint(folder_.write("file", bytes));
    if (!all) return all.error().message;
    tensors_ = all->parts.front().tensors;
    return "";
  }
  void expect_wrong(const std::string& bytes, const std::string& part) {
    const std::string text = wrong(bytes);
    EXPECT_NE(text.find(part), std::string::npos) << "'" << text << "' does not name: " << part;
  }
  Folder folder_;
  std::vector<Tensor> tensors_;
};

TEST_F(Files, SafetensorsAreRead) {
  EXPECT_EQ(wrong(safetensors(R"({"__metadata__":{"format":"pt","a":"b"},)"
                              R"("w":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
                              R"("s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}  )",
                              16)),
            "");
  ASSERT_EQ(tensors_.size(), 2u);
  EXPECT_EQ(tensors_[0].name, "s");
  EXPECT_EQ(tensors_[1].dtype, Dtype::kBfloat16);
  EXPECT_EQ(tensors_[1].elements, 6);
  EXPECT_EQ(tensors_[1].bytes, 12);
}

TEST_F(Files, SafetensorsThatLieAreNamed) {
  const auto one = [](const std::string& what) { return "{\"w\":{" + what + "}}"; };
  const std::string sound = one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])");
  EXPECT_EQ(wrong(safetensors(sound, 8)), "");
  expect_wrong(safetensors(sound, 5), "tensor w: the file ends 3 bytes before it does");
  expect_wrong(safetensors(sound, 9), "1 bytes after the last tensor");
  expect_wrong(safetensors(one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"), 8),
               "its shape needs 12 bytes, and it has 8");
  expect_wrong(safetensors(one(R"("dtype":"F32","shape":[-3],"data_offsets":[0,8])"), 8),
               "negative");
  expect_wrong(
      safetensors(one(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8])"), 8),
      "too large");
  expect_wrong(safetensors(one(R"("dtype":"F32","shape":[2])"), 8), "no data_offsets");
  expect_wrong(safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                           R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                           6),
               "tensor b: it overlaps another tensor");
  expect_wrong(safetensors("{\"w\":" + std::string(100000, '['), 8), "nested too deep");
  expect_wrong(safetensors("{]", 0), "no JSON at byte");
  expect_wrong(safetensors("{\"w\":3}", 0), "without a description");
  expect_wrong(little(uint64_t{1} << 40) + "{", "a header of");
  expect_wrong(little(uint64_t{99}) + "{", "does not fit into the file");
}

TEST_F(Files, WhatIsNoCheckpointIsNamed) {
  expect_wrong("version https://git-lfs", "git lfs pull");
  expect_wrong("hello, this is text", "no safetensors, torch or GGUF file");
  expect_wrong("", "too short");
  EXPECT_NE(open_checkpoint("/dev/null").error().message.find("no regular file"),
            std::string::npos);
}

TEST_F(Files, ALegacyPickleIsOneUnknownTensor) {
  EXPECT_EQ(wrong("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 and so on"), "");
  ASSERT_EQ(tensors_.size(), 1u);
  EXPECT_EQ(tensors_[0].dtype, Dtype::kUnknown);
  EXPECT_EQ(tensors_[0].bytes, 19);
}

TEST_F(Files, GgufIsReadByItsBlocks) {
  const std::string entries = text_of("general.architecture") + little(uint32_t{8}) +
                              text_of("llama") + text_of("tokens") + little(uint32_t{9}) +
                              little(uint32_t{8}) + little(uint64_t{2}) + text_of("a") +
                              text_of("bc") + text_of("scores") + little(uint32_t{9}) +
                              little(uint32_t{6}) + little(uint64_t{2}) + std::string(8, '\0');
  EXPECT_EQ(
      wrong(gguf(entries, 3, gguf_tensor("q", 512, 12, 0) + gguf_tensor("f", 8, 0, 288), 2, 320)),
      "");
  ASSERT_EQ(tensors_.size(), 2u);
  EXPECT_EQ(tensors_[0].bytes, 288);
  EXPECT_EQ(tensors_[0].dtype, Dtype::kBlocks);
  EXPECT_EQ(tensors_[1].bytes, 32);
}

TEST_F(Files, GgufThatLiesIsNamed) {
  expect_wrong(gguf("", 0, gguf_tensor("q", 512, 12, 0), 1, 100),
               "tensor q: the file ends before it does");
  expect_wrong(gguf("", 0, gguf_tensor("q", 500, 12, 0), 1, 300), "no whole blocks");
  expect_wrong(gguf("", 0, gguf_tensor("q", 8, 99, 0), 1, 300), "ggml's type 99");
  expect_wrong(gguf("", 0, gguf_tensor("a", 8, 0, 0) + gguf_tensor("b", 8, 0, 16), 2, 64),
               "tensor b: it overlaps");
  expect_wrong(gguf("", 0, "", uint64_t{1} << 50, 0), "more than a million");
  expect_wrong(gguf("", 7, "", 0, 0), "cut off");
  expect_wrong(gguf(text_of("k") + little(uint32_t{77}), 1, "", 0, 0),
               "metadata k: cut off, too large, or of an unknown");
  // Of the empty texts that a sparse file is full of, none is read.
  const std::string texts =
      text_of("k") + little(uint32_t{9}) + little(uint32_t{8}) + little(uint64_t{1} << 27);
  folder_.write("file", gguf(texts, 1, "", 0, 0));
  std::filesystem::resize_file(folder_.path("file"), uint64_t{2} << 30);
  EXPECT_NE(open_checkpoint(folder_.path("file")).error().message.find("metadata k: cut off, too"),
            std::string::npos);
  expect_wrong("GGUF" + little(uint32_t{9}) + std::string(16, '\0'), "version 9");
}

}  // namespace
}  // namespace oomguard::fit
