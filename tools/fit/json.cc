#include <nlohmann/json.hpp>

#include "tools/fit/output.h"

namespace oomguard::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSchema = "oomguard.fit/1";

const char* library_of(fit::Library library) {
  switch (library) {
    case fit::Library::kTransformers5:
      return "transformers-5";
    case fit::Library::kTransformers4:
      return "transformers-4";
    case fit::Library::kDiffusers:
      return "diffusers";
    case fit::Library::kSafetensors:
      return "safetensors";
    case fit::Library::kTorch:
      return "torch";
    case fit::Library::kLlamaCpp:
      return "llama.cpp";
  }
  return "";
}

const char* placement_of(fit::Placement placement) {
  switch (placement) {
    case fit::Placement::kHost:
      return "cpu";
    case fit::Placement::kCuda:
      return "cuda";
    case fit::Placement::kAuto:
      return "auto";
    case fit::Placement::kOffload:
      return "model-cpu-offload";
  }
  return "";
}

const char* verdict_word(fit::Verdict verdict) {
  switch (verdict) {
    case fit::Verdict::kFits:
      return "fits";
    case fit::Verdict::kReadsAgain:
      return "reads-again";
    case fit::Verdict::kDoesNotFit:
      return "does-not-fit";
  }
  return "";
}

Json number_or_null(int64_t bytes) { return bytes == INT64_MAX ? Json(nullptr) : Json(bytes); }

// The first part's that has one: what its arguments say.
Json variant_of(const fit::Way& way, const fit::Checkpoint& checkpoint) {
  for (const fit::Part& part : fit::loaded_by(way, checkpoint).parts) {
    if (!part.variant.empty()) return part.variant;
  }
  return nullptr;
}

Json way_json(const fit::Outcome& outcome, const FitPage& page) {
  const fit::Way& way = outcome.way;
  const fit::Need& need = outcome.need;
  return {{"library", library_of(way.library)},
          {"dtype", way.dtype == fit::Dtype::kUnknown ? Json(nullptr) : Json(name_of(way.dtype))},
          {"bits", way.bits == 0 ? Json(nullptr) : Json(way.bits)},
          {"device_map", placement_of(way.placement)},
          {"mapped", way.mapped},
          {"low_cpu_mem_usage", way.low_cpu_mem},
          {"train", way.train},
          {"variant", variant_of(way, page.checkpoint)},
          {"arguments", fit::arguments_of(way, page.checkpoint, page.room)},
          {"anonymous_bytes", need.anonymous},
          {"anonymous_kept_bytes", need.anonymous_kept},
          {"mapped_bytes", need.mapped},
          {"read_each_pass_bytes", need.read_each_pass},
          {"gpu_bytes", need.gpus},
          {"verdict", verdict_word(outcome.verdict)},
          {"missing_bytes", outcome.missing},
          {"missing_gpu", outcome.missing_gpu < 0 ? Json(nullptr) : Json(outcome.missing_gpu)},
          {"read_again_bytes", outcome.read_again}};
}

}  // namespace

std::string fit_json(const FitPage& page) {
  const fit::Sums sums = fit::sums_of(page.checkpoint);
  Json parts = Json::array();
  for (const fit::Part& part : page.checkpoint.parts) {
    Json files = Json::array();
    for (const fit::File& file : part.files)
      files.push_back({{"path", file.path}, {"bytes", file.bytes}});
    parts.push_back({{"folder", part.folder},
                     {"class", part.class_name},
                     {"tensors", part.tensors.size()},
                     {"files", files}});
  }
  Json ways = Json::array();
  for (const fit::Outcome& outcome : page.outcomes) ways.push_back(way_json(outcome, page));
  Json best = nullptr;
  if (!page.outcomes.empty()) {
    if (const auto* one = fit::best_of(page.outcomes, page.outcomes.front().way.library)) {
      best = {{"way", one - page.outcomes.data()},
              {"call", fit::call_of(one->way, page.checkpoint, page.room)}};
    }
  }
  const Json all = {{"schema", kSchema},
                    {"path", page.checkpoint.path},
                    {"parameters", sums.parameters},
                    {"file_bytes", sums.bytes},
                    {"dtype", name_of(sums.dtype)},
                    {"parts", parts},
                    {"missing", page.checkpoint.missing},
                    {"left_bytes", number_or_null(page.left)},
                    {"imports_bytes", fit::kImports},
                    {"gpu_left_bytes", page.room.gpus},
                    {"ways", ways},
                    {"best", best}};
  return all.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace oomguard::tools
