#include "collector/fit/weights.h"

#include <algorithm>
#include <map>
#include <string_view>

namespace oomguard::fit {
namespace {

// From this size on glibc always maps a block, and gives it back when it is freed
// (M_MMAP_THRESHOLD).
constexpr int64_t kAlwaysMapped = int64_t{32} << 20;

bool is_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// "model.layers.12" of "model.layers.12.mlp.weight"; the whole name where no number is in it.
std::string_view layer_of(std::string_view name) {
  for (size_t from = 0; from < name.size();) {
    const size_t dot = std::min(name.find('.', from), name.size());
    if (is_number(name.substr(from, dot - from))) return name.substr(0, dot);
    from = dot + 1;
  }
  return name;
}

// transformers' _keep_in_fp32_modules of the T5 family, which holds for float16.
bool stays_float32(const Part& part, const Tensor& tensor, Dtype dtype) {
  return dtype == Dtype::kFloat16 && part.model_type.find("t5") != std::string::npos &&
         tensor.name.find(".wo.") != std::string::npos;
}

// bitsandbytes takes the place of linear layers, but of the output layer and of embeddings.
bool is_quantized(const Tensor& tensor, bool merged) {
  if (merged || tensor.dimensions != 2 || !is_floating(tensor.dtype)) return false;
  if (!tensor.name.ends_with(".weight")) return false;
  for (const char* other : {"embed", "norm", "lm_head", "wte", "wpe", "shared.weight", "rel"}) {
    if (tensor.name.find(other) != std::string::npos) return false;
  }
  return true;
}

int64_t bytes_with(const Tensor& tensor, int bits) {
  return tensor.elements > INT64_MAX / 64 ? INT64_MAX : tensor.elements * bits / 8;
}

// 4-bit: a float32 scale for each 64 weights beside them (bitsandbytes' blocksize).
int64_t bytes_quantized(const Tensor& tensor, int bits) {
  const int64_t scales = bits == 4 ? tensor.elements / 64 * 4 : 0;
  return plus(bytes_with(tensor, bits), scales);
}

}  // namespace

bool is_expert(const std::string& name) {
  const size_t at = name.find(".experts.");
  if (at == std::string::npos) return false;
  const size_t number = at + 9;
  const size_t dot = name.find('.', number);
  return dot != std::string::npos && is_number(std::string_view(name).substr(number, dot - number));
}

Weights weights_of(const Part& part, const Target& target) {
  Weights sum;
  std::vector<int64_t> made_in_file(part.files.size(), 0);
  std::map<std::string_view, size_t> layers;
  std::map<std::string_view, int64_t> merged;  // bytes of the experts of each layer
  for (const File& file : part.files) {
    sum.files = plus(sum.files, file.bytes);
    sum.largest_file = std::max(sum.largest_file, file.bytes);
  }
  for (const Tensor& tensor : part.tensors) {
    Dtype dtype = tensor.dtype;
    if (target.dtype != Dtype::kUnknown && is_floating(dtype)) dtype = target.dtype;
    if (stays_float32(part, tensor, dtype)) dtype = Dtype::kFloat32;
    const bool merges = target.merges_experts && is_expert(tensor.name);
    const bool converts = dtype != tensor.dtype;
    const bool quantizes = target.bits != 0 && is_quantized(tensor, merges);
    const bool is_made = merges || converts || quantizes;
    int64_t bytes = converts ? bytes_with(tensor, bits_of(dtype)) : tensor.bytes;
    if (quantizes) bytes = bytes_quantized(tensor, target.bits);
    if (tensor.shares) {
      if (is_made) sum.made_again = plus(sum.made_again, bytes);
      continue;
    }
    sum.largest =
        std::max(sum.largest, converts ? bytes_with(tensor, bits_of(dtype)) : tensor.bytes);
    if (is_made) {
      sum.made = plus(sum.made, bytes);
      sum.made_in_file = plus(sum.made_in_file, tensor.bytes);
      made_in_file[tensor.file] = plus(made_in_file[tensor.file], tensor.bytes);
    } else {
      sum.same = plus(sum.same, bytes);
    }
    if (merges) {
      int64_t& of_layer = merged[layer_of(tensor.name)];
      of_layer = plus(of_layer, bytes);
      // Converted by threads, ahead of the merge: small blocks, freed here and there.
      sum.merge_converts = sum.merge_converts || converts;
      if (converts && bytes < kAlwaysMapped) sum.merge_left = plus(sum.merge_left, bytes / 4 * 3);
    }
    const auto [layer, is_new] = layers.try_emplace(layer_of(tensor.name), sum.layers.size());
    if (is_new) sum.layers.push_back(0);
    sum.layers[layer->second] = plus(sum.layers[layer->second], bytes);
  }
  for (const auto& [layer, bytes] : merged) {
    // The stacks of gate and up, two of an expert's three matrices, until they are joined.
    sum.merge_step = std::max(sum.merge_step, bytes / 3 * 2);
  }
  for (const int64_t bytes : made_in_file) {
    sum.largest_made_in_file = std::max(sum.largest_made_in_file, bytes);
  }
  return sum;
}

}  // namespace oomguard::fit
