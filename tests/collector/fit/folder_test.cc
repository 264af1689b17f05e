#include <gtest/gtest.h>

#include "collector/fit/checkpoint.h"
#include "tests/collector/fit/bytes.h"

namespace oomguard::fit {
namespace {

std::string one_tensor(const std::string& name) {
  return safetensors("{\"" + name + R"(":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
}

class Folders : public testing::Test {
 protected:
  std::string wrong() {
    const auto all = open_checkpoint(folder_.path());
    return all ? "" : all.error().message;
  }
  Folder folder_;
};

TEST_F(Folders, ShardsOfAnIndexMakeOneModel) {
  folder_.write(
      "config.json",
      R"({"model_type":"llama","architectures":["LlamaForCausalLM"],"torch_dtype":"float32"})");
  folder_.write("a.safetensors", one_tensor("w"));
  folder_.write("b.safetensors", one_tensor("v"));
  folder_.write("model.safetensors.index.json",
                R"({"weight_map":{"w":"a.safetensors","v":"b.safetensors"}})");
  const auto all = open_checkpoint(folder_.path() + "/");
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_EQ(all->path, folder_.path());
  EXPECT_EQ(all->layout, Layout::kTransformers);
  ASSERT_EQ(all->parts.size(), 1u);
  EXPECT_EQ(all->parts[0].files.size(), 2u);
  EXPECT_EQ(all->parts[0].class_name, "LlamaForCausalLM");
  const auto index = open_checkpoint(folder_.path("model.safetensors.index.json"));
  ASSERT_TRUE(index);
  EXPECT_EQ(index->parts[0].tensors.size(), 2u);
}

TEST_F(Folders, AnIndexThatLiesIsNamed) {
  folder_.write("a.safetensors", one_tensor("w"));
  const auto index = [&](const char* map) {
    folder_.write("model.safetensors.index.json", map);
    return wrong();
  };
  EXPECT_NE(
      index(R"({"weight_map":{"x":"a.safetensors"}})").find("tensor x is not in a.safetensors"),
      std::string::npos);
  EXPECT_NE(index(R"({"weight_map":{"w":"../a.safetensors"}})").find("in no file of this folder"),
            std::string::npos);
  EXPECT_NE(index(R"({"weight_map":{"w":"b.safetensors"}})").find("No such file"),
            std::string::npos);
  EXPECT_NE(index(R"({"weight_map":3})").find("no weight_map"), std::string::npos);
  std::string many = "{\"weight_map\":[0";
  for (int i = 0; i < 2'000'000; ++i) many += ",0";
  EXPECT_NE(index((many + "]}").c_str()).find("more than a million values"), std::string::npos);
  EXPECT_NE(index(std::string(1000, '[').c_str()).find("nested too deep"), std::string::npos);
}

TEST_F(Folders, SafetensorsComeBeforeTorchAndBothBeforeVariants) {
  const auto tensor = [&] {
    const auto all = open_checkpoint(folder_.path());
    EXPECT_TRUE(all) << all.error().message;
    return all ? all->parts[0].tensors[0].name + all->parts[0].variant : "";
  };
  folder_.write("config.json", "{}");
  folder_.write("model.fp16.safetensors", one_tensor("variant "));
  EXPECT_EQ(tensor(), "variant fp16");
  folder_.write("pytorch_model.bin", one_tensor("torch"));
  EXPECT_EQ(tensor(), "torch");
  folder_.write("model.safetensors", one_tensor("safetensors"));
  EXPECT_EQ(tensor(), "safetensors");
}

TEST_F(Folders, AVariantBesideOtherWeightsIsReadToo) {
  const auto read = [&] {
    auto all = open_checkpoint(folder_.path());
    EXPECT_TRUE(all) << all.error().message;
    return all ? *all : Checkpoint();
  };
  const std::string half =
      safetensors(R"({"w":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})", 4);
  folder_.write("config.json", "{}");
  folder_.write("model.safetensors", one_tensor("w"));
  folder_.write("model.large.safetensors", one_tensor("weights_of_a_longer_name"));
  EXPECT_TRUE(read().variants.empty());  // not smaller
  folder_.write("model.fp16-00001-of-00001.safetensors", half);
  folder_.write("model.safetensors.index.fp16.json",
                R"({"weight_map":{"w":"model.fp16-00001-of-00001.safetensors"}})");
  folder_.write("model.int8.safetensors", "{");  // what cannot be read is none
  const Checkpoint all = read();
  EXPECT_EQ(all.parts[0].variant, "");
  ASSERT_EQ(all.variants.size(), 1u);
  EXPECT_EQ(all.variants[0].parts[0].variant, "fp16");
  EXPECT_EQ(all.variants[0].parts[0].tensors[0].dtype, Dtype::kFloat16);
  for (const char* other : {"", ".large", ".int8"}) {
    std::filesystem::remove(folder_.path("model" + std::string(other) + ".safetensors"));
  }
  EXPECT_EQ(read().parts[0].variant, "fp16");
}

TEST_F(Folders, AVariantOfAPipelineHasTheOthersComponents) {
  folder_.write("model_index.json",
                R"({"unet":["diffusers","U"],"vae":["diffusers","V"],"encoder":["a","E"],)"
                R"("no":[null,null]})");
  folder_.write("unet/diffusion_pytorch_model.safetensors", one_tensor("w"));
  folder_.write(
      "unet/diffusion_pytorch_model.fp16.safetensors",
      safetensors(R"({"w":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})", 4));
  folder_.write("vae/diffusion_pytorch_model.safetensors", one_tensor("v"));
  const auto all = open_checkpoint(folder_.path());
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_EQ(all->missing, std::vector<std::string>{"encoder"});
  ASSERT_EQ(all->variants.size(), 1u);
  const std::vector<Part>& parts = all->variants[0].parts;
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].folder + parts[0].variant, "unetfp16");
  EXPECT_EQ(parts[1].variant + parts[1].tensors[0].name, "v");
  EXPECT_EQ(parts[1].class_name, "V");
}

TEST_F(Folders, APipelineHasItsComponents) {
  folder_.write("model_index.json",
                R"({"_class_name":"LTX2Pipeline","scheduler":["diffusers","S"],)"
                R"("transformer":["diffusers","T"],"text_encoder":["transformers","E"],)"
                R"("vae":["diffusers","V"],"none":[null,null],"../x":["a","b"]})");
  folder_.write("scheduler/scheduler_config.json", "{}");
  folder_.write("transformer/diffusion_pytorch_model.safetensors", one_tensor("w"));
  folder_.write("text_encoder/model.safetensors", one_tensor("w"));
  folder_.write("vae/diffusion_pytorch_model.safetensors", one_tensor("w"));
  const auto all = open_checkpoint(folder_.path());
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_EQ(all->layout, Layout::kDiffusers);
  EXPECT_EQ(all->pipeline_class, "LTX2Pipeline");
  ASSERT_EQ(all->parts.size(), 3u);
  EXPECT_EQ(all->parts[0].folder, "text_encoder");
}

TEST_F(Folders, ComponentsHaveTorchsFilesOrNoneOfAModel) {
  folder_.write("model_index.json",
                R"({"scheduler":["diffusers","PNDMScheduler"],"unet":["diffusers","U"],)"
                R"("tokenizer":["transformers","CLIPTokenizer"],"vae":["diffusers","V"]})");
  folder_.write("scheduler/scheduler_config.json", "{}");
  folder_.write("tokenizer/config.json", "{}");
  folder_.write("vae/config.json", "{}");
  folder_.write("vae/diffusion_pytorch_model.safetensors", one_tensor("w"));
  folder_.write("unet/config.json", "{}");
  folder_.write("unet/diffusion_pytorch_model.bin", one_tensor("w"));
  const auto all = open_checkpoint(folder_.path());
  ASSERT_TRUE(all) << all.error().message;
  ASSERT_EQ(all->parts.size(), 2u);
  EXPECT_EQ(all->parts[0].folder, "unet");
  std::filesystem::rename(folder_.path("unet/diffusion_pytorch_model.bin"),
                          folder_.path("unet/model.onnx"));
  EXPECT_NE(wrong().find("unet: it has a config.json, and no weights"), std::string::npos);
}

TEST_F(Folders, LinksToOneLargeFileDoNotMultiplyItsTensors) {
  constexpr uint64_t kTensors = 600'000;
  std::string many;
  for (uint64_t i = 0; i < kTensors; ++i) many += gguf_tensor("", 0, 0, 0);
  folder_.write("a.gguf", gguf("", 0, many, kTensors, 0));
  EXPECT_EQ(wrong(), "");
  std::filesystem::create_symlink("a.gguf", folder_.path("b.gguf"));
  EXPECT_NE(wrong().find("b.gguf: more than a million tensors"), std::string::npos) << wrong();
}

TEST_F(Folders, NamesOfAllFilesAreBounded) {
  std::string long_names;
  for (int i = 0; i < 260; ++i) long_names += gguf_tensor(std::string(1 << 16, 'n'), 0, 0, 0);
  folder_.write("0.gguf", gguf("", 0, long_names, 260, 0));
  for (const char* name : {"1.gguf", "2.gguf", "3.gguf"}) {
    EXPECT_EQ(wrong(), "");
    std::filesystem::create_symlink("0.gguf", folder_.path(name));
  }
  EXPECT_NE(wrong().find("3.gguf: more than a million tensors, or 64 MiB"), std::string::npos);
}

TEST_F(Folders, OfFilesAloneOnlyThoseThatAreAskedForAreRead) {
  const auto files = [&](const std::string& only) {
    const auto all = open_checkpoint(folder_.path(), Clock::time_point::max(), {only});
    EXPECT_TRUE(all) << all.error().message;
    return all ? all->parts[0].files : std::vector<File>();
  };
  folder_.write("model.safetensors", one_tensor("w"));
  folder_.write("epoch49.pt", "no checkpoint");
  const std::string asked = folder_.write("epoch50.pt", one_tensor("w"));
  ASSERT_EQ(files(asked).size(), 1u);
  EXPECT_EQ(files(asked)[0].path, asked);
  folder_.write("config.json", "{}");
  EXPECT_EQ(files(asked)[0].path, folder_.path("model.safetensors"));
}

TEST_F(Folders, AFolderWithoutWeightsIsAnError) {
  EXPECT_NE(wrong().find("no weights of a model"), std::string::npos);
  folder_.write("config.json", "3");
  EXPECT_NE(wrong().find("no JSON object"), std::string::npos);
}

}  // namespace
}  // namespace oomguard::fit
