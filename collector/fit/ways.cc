#include <nlohmann/json.hpp>

#include "collector/fit/predict.h"
#include "collector/fit/weights.h"

namespace oomguard::fit {
namespace {

constexpr Dtype kFloats[] = {Dtype::kFloat32, Dtype::kBfloat16, Dtype::kFloat16};

bool has(const Checkpoint& checkpoint, Format format) {
  for (const Part& part : checkpoint.parts) {
    for (const File& file : part.files) {
      if (file.format == format) return true;
    }
  }
  return false;
}

// Only where every weight is known can another dtype be predicted, and only floats are converted.
bool is_convertible(const Checkpoint& checkpoint) {
  const Sums sums = sums_of(checkpoint);
  for (const Part& part : checkpoint.parts) {
    if (part.quantized) return false;
  }
  return sums.known && is_floating(sums.dtype);
}

class Ways {
 public:
  explicit Ways(const Checkpoint& checkpoint)
      : stored_(sums_of(checkpoint).dtype), convertible_(is_convertible(checkpoint)) {}

  void put(const Way& way) { list.push_back(way); }
  // As in the file, then the other floats.
  void put_dtypes(Way way) {
    put(way);
    if (!convertible_) return;
    for (const Dtype dtype : kFloats) {
      if (dtype == stored_) continue;
      way.dtype = dtype;
      put(way);
    }
  }
  void put_quantized(Way way) {
    if (!convertible_) return;
    for (const int bits : {8, 4}) {
      way.bits = bits;
      put(way);
    }
  }
  bool convertible() const { return convertible_; }
  Dtype stored() const { return stored_; }

  std::vector<Way> list;

 private:
  Dtype stored_;
  bool convertible_;
};

bool merges_experts(const Checkpoint& checkpoint) {
  for (const Part& part : checkpoint.parts) {
    for (const Tensor& tensor : part.tensors) {
      if (is_expert(tensor.name)) return true;
    }
  }
  return false;
}

void put_transformers(const Checkpoint& checkpoint, Ways* ways, bool with_gpu) {
  for (const Library library : {Library::kTransformers5, Library::kTransformers4}) {
    if (with_gpu) {
      ways->put_dtypes({.library = library, .placement = Placement::kCuda});
      ways->put_quantized({.library = library, .placement = Placement::kCuda});
      ways->put_dtypes({.library = library, .placement = Placement::kAuto});
    }
    ways->put_dtypes({.library = library});
    if (library == Library::kTransformers4)
      ways->put_dtypes({.library = library, .low_cpu_mem = true});
    ways->put_quantized({.library = library});
    // Of torch's files transformers heeds no disable_mmap.
    if (library == Library::kTransformers5 && has(checkpoint, Format::kSafetensors) &&
        !merges_experts(checkpoint)) {
      ways->put({.library = library, .mapped = false});
    }
    if (!with_gpu && ways->convertible() && ways->stored() != Dtype::kFloat32) {
      ways->put({.library = library, .dtype = Dtype::kFloat32, .placement = Placement::kAuto});
    }
  }
}

void put_training(Ways* ways, Library library, bool with_gpu) {
  if (with_gpu)
    ways->put_dtypes({.library = library, .placement = Placement::kCuda, .train = true});
  ways->put_dtypes({.library = library, .train = true});
}

Library library_of(const Checkpoint& checkpoint) {
  if (checkpoint.layout == Layout::kTransformers) return Library::kTransformers5;
  if (checkpoint.layout == Layout::kDiffusers) return Library::kDiffusers;
  if (has(checkpoint, Format::kGguf)) return Library::kLlamaCpp;
  return has(checkpoint, Format::kSafetensors) ? Library::kSafetensors : Library::kTorch;
}

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string mebibytes(int64_t bytes) {
  return std::to_string(std::max<int64_t>(bytes >> 20, 0)) + "MiB";
}

bool is_one_file(const Checkpoint& checkpoint) {
  return checkpoint.parts.size() == 1 && checkpoint.parts.front().files.size() == 1;
}

std::string torch_dtype(const Way& way, const Checkpoint& checkpoint) {
  const Dtype dtype = way.dtype == Dtype::kUnknown ? sums_of(checkpoint).dtype : way.dtype;
  return is_floating(dtype) ? std::string("torch.") + name_of(dtype) : "";
}

// ", variant="fp16"", where a part is one.
std::string variant_argument(const Checkpoint& checkpoint) {
  for (const Part& part : checkpoint.parts) {
    if (!part.variant.empty()) return ", variant=" + quoted(part.variant);
  }
  return "";
}

std::string of_transformers(const Way& way, const Checkpoint& checkpoint, const Room& room) {
  const std::string dtype = torch_dtype(way, checkpoint);
  const bool is_4 = way.library == Library::kTransformers4;
  std::string text = (is_4 ? "torch_dtype=" : "dtype=") + (dtype.empty() ? "\"auto\"" : dtype);
  if (way.bits != 0) {
    text =
        "quantization_config=BitsAndBytesConfig(load_in_" + std::to_string(way.bits) + "bit=True)";
  }
  if (way.placement == Placement::kCuda) text += ", device_map=\"cuda\"";
  if (way.placement == Placement::kAuto) {
    text += ", device_map=\"auto\", offload_folder=\"offload\"";
    if (room.host != INT64_MAX) {
      text += ", max_memory={";
      for (size_t i = 0; i < room.gpus.size(); ++i) {
        text += std::to_string(i) + ": \"" + mebibytes(room.gpus[i] / 10 * 9) + "\", ";
      }
      text += "\"cpu\": \"" + mebibytes(room.host - kMargin) + "\"}";
    }
  }
  if (way.low_cpu_mem) text += ", low_cpu_mem_usage=True";
  if (!way.mapped) text += ", disable_mmap=True";
  return text + variant_argument(checkpoint);
}

std::vector<Way> ways_of_one(const Checkpoint& checkpoint, bool with_gpu, bool train) {
  Ways ways(checkpoint);
  const Library library = library_of(checkpoint);
  if (train) {
    if (ways.convertible()) put_training(&ways, library, with_gpu);
    return ways.list;
  }
  switch (library) {
    case Library::kTransformers5:
    case Library::kTransformers4:
      put_transformers(checkpoint, &ways, with_gpu);
      break;
    case Library::kDiffusers:
      for (const Placement placement : {Placement::kCuda, Placement::kOffload}) {
        if (with_gpu) ways.put_dtypes({.library = library, .placement = placement});
      }
      ways.put_dtypes({.library = library});
      break;
    case Library::kLlamaCpp:
      if (with_gpu) ways.put({.library = library, .placement = Placement::kCuda});
      ways.put({.library = library});
      ways.put({.library = library, .mapped = false});
      break;
    case Library::kSafetensors:
      if (with_gpu) ways.put({.library = library, .placement = Placement::kCuda});
      ways.put_dtypes({.library = library});
      break;
    case Library::kTorch:
      if (!has(checkpoint, Format::kTorchLegacy)) ways.put({.library = library});
      ways.put({.library = library, .mapped = false});
      break;
  }
  return ways.list;
}

}  // namespace

const Checkpoint& loaded_by(const Way& way, const Checkpoint& checkpoint) {
  return way.variant == 0 ? checkpoint : checkpoint.variants[way.variant - 1];
}

std::vector<Way> ways_of(const Checkpoint& checkpoint, bool with_gpu, bool train) {
  std::vector<Way> ways = ways_of_one(checkpoint, with_gpu, train);
  for (size_t i = 0; i < checkpoint.variants.size() && !train; ++i) {
    for (Way way : ways_of_one(checkpoint.variants[i], with_gpu, train)) {
      const bool plain = way.dtype == Dtype::kUnknown && way.bits == 0 && way.mapped;
      way.variant = static_cast<uint8_t>(i + 1);
      if (plain && !way.low_cpu_mem) ways.push_back(way);
    }
  }
  return ways;
}

std::string arguments_of(const Way& way, const Checkpoint& all, const Room& room) {
  const Checkpoint& checkpoint = loaded_by(way, all);
  const std::string dtype = torch_dtype(way, checkpoint);
  switch (way.library) {
    case Library::kTransformers5:
    case Library::kTransformers4:
      return of_transformers(way, checkpoint, room);
    case Library::kDiffusers: {
      const std::string text = "torch_dtype=" + (dtype.empty() ? "\"auto\"" : dtype) +
                               variant_argument(checkpoint);
      if (way.placement == Placement::kCuda) return text + ", .to(\"cuda\")";
      return text + (way.placement == Placement::kOffload ? ", .enable_model_cpu_offload()" : "");
    }
    case Library::kLlamaCpp:
      if (way.placement == Placement::kCuda) return "n_gpu_layers=-1";
      return way.mapped ? "use_mmap=True" : "use_mmap=False";
    case Library::kSafetensors:
      if (way.placement == Placement::kCuda) return "device=\"cuda\"";
      return way.dtype == Dtype::kUnknown ? "as in the file" : ".to(" + dtype + ")";
    case Library::kTorch:
      return way.mapped ? "mmap=True" : "mmap=False";
  }
  return "";
}

std::vector<std::string> call_of(const Way& way, const Checkpoint& all, const Room& room) {
  const Checkpoint& checkpoint = loaded_by(way, all);
  const std::string path = quoted(checkpoint.path);
  const std::string arguments = arguments_of(way, all, room);
  const std::string file =
      is_one_file(checkpoint) ? quoted(checkpoint.parts[0].files[0].path) : "path";
  const std::string each =
      is_one_file(checkpoint) ? "" : "for path in paths:  # each file of the checkpoint";
  std::vector<std::string> lines;
  const auto put_each = [&](const std::string& line) {
    if (!each.empty()) lines.push_back(each);
    lines.push_back((each.empty() ? "" : "    ") + line);
  };
  switch (way.library) {
    case Library::kTransformers5:
    case Library::kTransformers4: {
      const std::string& known = checkpoint.parts.front().class_name;
      const std::string name = known.empty() ? "AutoModel" : known;
      lines.push_back("import torch");
      lines.push_back("from transformers import " + name +
                      (way.bits != 0 ? ", BitsAndBytesConfig" : ""));
      lines.push_back("model = " + name + ".from_pretrained(" + path + ", " + arguments + ")");
      break;
    }
    case Library::kDiffusers: {
      const std::string name =
          checkpoint.pipeline_class.empty() ? "DiffusionPipeline" : checkpoint.pipeline_class;
      const size_t comma = arguments.find(", .");
      lines.push_back("import torch");
      lines.push_back("from diffusers import " + name);
      lines.push_back("pipe = " + name + ".from_pretrained(" + path + ", " +
                      arguments.substr(0, comma) + ")");
      if (comma != std::string::npos) lines.push_back("pipe" + arguments.substr(comma + 2));
      break;
    }
    case Library::kLlamaCpp:
      lines.push_back("from llama_cpp import Llama");
      lines.push_back("model = Llama(" + file + ", " + arguments + ")");
      break;
    case Library::kSafetensors:
      lines.push_back("from safetensors.torch import load_file");
      if (way.placement == Placement::kCuda) {
        put_each("weights = load_file(" + file + ", device=\"cuda\")");
      } else if (way.dtype == Dtype::kUnknown) {
        put_each("weights = load_file(" + file + ")");
      } else {
        lines.insert(lines.begin(), "import torch");
        put_each("weights = {k: v" + arguments + " for k, v in load_file(" + file + ").items()}");
      }
      break;
    case Library::kTorch:
      lines.push_back("import torch");
      put_each("weights = torch.load(" + file + ", " + (way.mapped ? "mmap=True, " : "") +
               "weights_only=True)");
      break;
  }
  return lines;
}

}  // namespace oomguard::fit
