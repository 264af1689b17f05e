#include "collector/fit/predict.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "collector/fit/weights.h"

namespace oomguard::fit {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kGiB = int64_t{1} << 30;

Tensor tensor(const std::string& name, Dtype dtype, int64_t elements, uint32_t file = 0) {
  return {name, dtype, elements, times(elements, bits_of(dtype) / 8), 2, file, false};
}

// Two files of 4 GiB of bfloat16 each, in eight layers.
Checkpoint model() {
  Part part;
  part.class_name = "LlamaForCausalLM";
  part.files = {{"a", 4 * kGiB, Format::kSafetensors}, {"b", 4 * kGiB, Format::kSafetensors}};
  for (uint32_t layer = 0; layer < 8; ++layer) {
    part.tensors.push_back(tensor("model.layers." + std::to_string(layer) + ".mlp.weight",
                                  Dtype::kBfloat16, kGiB / 2, layer / 4));
  }
  return {"/model", Layout::kTransformers, "", {part}};
}

const Outcome& find(const std::vector<Outcome>& outcomes, const Way& way) {
  return *std::ranges::find(outcomes, way, &Outcome::way);
}

TEST(Predict, WeightsAsInTheFileStayMappedAndAreReadAgainWhereTheyDoNotFit) {
  const auto outcomes = predict(model(), {6 * kGiB, {}}, false);
  const Outcome& one = find(outcomes, {});
  EXPECT_EQ(one.need.anonymous, 0);
  EXPECT_EQ(one.need.mapped, 8 * kGiB);
  EXPECT_EQ(one.verdict, Verdict::kReadsAgain);
  EXPECT_EQ(one.read_again, 8 * kGiB);
  EXPECT_EQ(find(predict(model(), {9 * kGiB, {}}, false), {}).verdict, Verdict::kFits);
}

TEST(Predict, AVariantIsForWhatTheOtherWeightsDoNotFitInto) {
  Checkpoint all = model();
  all.variants = {all};
  for (Tensor& one : all.parts[0].tensors) {
    one.dtype = Dtype::kFloat32;
    one.bytes *= 2;
  }
  for (File& file : all.parts[0].files) file.bytes *= 2;
  all.variants[0].parts[0].variant = "bf16";
  const auto best = [&](const Room& room) {
    const auto outcomes = predict(all, room, false);
    const Outcome* one = best_of(outcomes, Library::kTransformers5);
    return one == nullptr ? "" : call_of(one->way, all, room).back();
  };
  EXPECT_NE(best({9 * kGiB, {}})
                .find(R"(("/model", dtype=torch.bfloat16, variant="bf16"))"),
            std::string::npos);
  EXPECT_NE(best({18 * kGiB, {}}).find("(\"/model\", dtype=torch.float32)"), std::string::npos);
  EXPECT_NE(best({9 * kGiB, {10 * kGiB}}).find(R"(device_map="cuda", variant="bf16")"),
            std::string::npos);
  for (const Outcome& one : predict(all, {9 * kGiB, {}}, true)) EXPECT_EQ(one.way.variant, 0);
}

TEST(Predict, AConversionIsAnonymousAndSaysHowMuchIsMissing) {
  const auto outcomes = predict(model(), {6 * kGiB, {}}, false);
  const Outcome& one = find(outcomes, {.dtype = Dtype::kFloat32});
  EXPECT_EQ(one.need.anonymous, 16 * kGiB);
  EXPECT_EQ(one.verdict, Verdict::kDoesNotFit);
  EXPECT_EQ(one.missing, 10 * kGiB + kMargin);
  // transformers 4 lets go of one file before the next.
  EXPECT_EQ(
      find(outcomes, {.library = Library::kTransformers4, .dtype = Dtype::kFloat32}).need.mapped,
      4 * kGiB);
}

TEST(Predict, ADeviceMapFillsTheHostThenTheDisk) {
  const auto outcomes = predict(model(), {9 * kGiB, {}}, false);
  const Outcome& one = find(outcomes, {.dtype = Dtype::kFloat32, .placement = Placement::kAuto});
  // Three layers of 2 GiB, one more while it is converted, and the room of the largest kept.
  EXPECT_EQ(one.need.anonymous_kept, 6 * kGiB);
  EXPECT_EQ(one.need.anonymous, 8 * kGiB);
  EXPECT_EQ(one.need.read_each_pass, 10 * kGiB);
  EXPECT_EQ(one.verdict, Verdict::kReadsAgain);
}

TEST(Predict, GpusAreFilledEvenly) {
  const Room room{6 * kGiB, {6 * kGiB, 6 * kGiB}};
  const auto outcomes = predict(model(), room, false);
  const Outcome& whole = find(outcomes, {.placement = Placement::kCuda});
  EXPECT_EQ(whole.missing_gpu, 0);
  const Outcome& both = find(outcomes, {.placement = Placement::kAuto});
  EXPECT_EQ(both.need.gpus[0] + both.need.gpus[1], 9 * kGiB);
  EXPECT_EQ(both.verdict, Verdict::kFits);
  const Outcome* best = best_of(outcomes, Library::kTransformers5);
  ASSERT_NE(best, nullptr);
  EXPECT_EQ(best->way, (Way{.placement = Placement::kAuto}));
  const auto one_gpu = predict(model(), {6 * kGiB, {6 * kGiB}}, false);
  best = best_of(one_gpu, Library::kTransformers5);
  ASSERT_NE(best, nullptr);
  EXPECT_EQ(best->way, (Way{.bits = 8, .placement = Placement::kCuda}));
}

TEST(Predict, TheBestIsTheFilesOwnPrecisionWhereItFits) {
  const auto enough = predict(model(), {40 * kGiB, {}}, false);
  const Outcome* best = best_of(enough, Library::kTransformers5);
  ASSERT_NE(best, nullptr);
  EXPECT_EQ(best->way, Way{});
  EXPECT_EQ(call_of(best->way, model(), {40 * kGiB, {}}).back(),
            "model = LlamaForCausalLM.from_pretrained(\"/model\", dtype=torch.bfloat16)");
  const auto little = predict(model(), {5 * kGiB + kMargin, {}}, false);
  best = best_of(little, Library::kTransformers5);
  ASSERT_NE(best, nullptr);
  EXPECT_EQ(best->way.bits, 8);
}

TEST(Predict, MergedExpertsBecomeCopiesInTransformers5) {
  Checkpoint checkpoint = model();
  checkpoint.parts[0].tensors.push_back(
      tensor("model.layers.0.mlp.experts.3.up_proj.weight", Dtype::kBfloat16, 6 * kMiB));
  const auto outcomes = predict(checkpoint, {}, false);
  EXPECT_EQ(find(outcomes, {}).need.anonymous_kept, 12 * kMiB);
  EXPECT_EQ(find(outcomes, {.library = Library::kTransformers4}).need.anonymous, 0);
  EXPECT_FALSE(is_expert("model.layers.0.mlp.experts.gate_up_proj"));
}

TEST(Predict, TrainingTakesFourTimesTheWeights) {
  const auto outcomes = predict(model(), {}, true);
  EXPECT_EQ(find(outcomes, {.train = true}).need.anonymous, 32 * kGiB);
  EXPECT_EQ(find(outcomes, {.dtype = Dtype::kFloat32, .train = true}).need.anonymous, 64 * kGiB);
}

TEST(Predict, AbsurdSizesStayTheLargestNumber) {
  Checkpoint checkpoint = model();
  for (int i = 0; i < 3; ++i) {
    checkpoint.parts[0].tensors.push_back(tensor("x", Dtype::kFloat16, INT64_MAX / 2));
    checkpoint.parts[0].files[0].bytes = INT64_MAX;
  }
  for (const bool train : {false, true}) {
    for (const int64_t host : {int64_t{0}, kGiB, INT64_MAX}) {
      for (const Outcome& one : predict(checkpoint, {host, {kGiB}}, train)) {
        EXPECT_GE(one.need.anonymous, 0);
        EXPECT_GE(one.need.read_each_pass, 0);
        EXPECT_GE(one.missing, 0);
      }
    }
  }
}

}  // namespace
}  // namespace oomguard::fit
