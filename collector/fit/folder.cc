#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "collector/fit/files.h"
#include "collector/fit/weights.h"

namespace oomguard::fit {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kMostConfig = size_t{16} << 20;
constexpr size_t kMostIndex = size_t{64} << 20;
constexpr size_t kMostFiles = 4096;
constexpr size_t kMostEntries = 10000;  // of a folder that is looked through
constexpr size_t kMostMissing = 100;
constexpr size_t kMostVariants = 4;
constexpr int kMostDepth = 64;
constexpr size_t kMostValues = 2'000'000;

// An object; a missing file is none, and no error.
Result<Json> read_json(const fs::path& path, size_t most) {
  std::error_code error;
  if (!fs::exists(path, error)) return Json();
  const auto source = Source::open(path);
  if (!source) return source.error();
  std::string text;
  if (!source->read_all(most, &text)) return source->wrong("too large, or cannot be read");
  bool too_deep = false;
  size_t values = 0;  // and keys
  Json json = Json::parse(
      text,
      [&](int depth, Json::parse_event_t, Json&) {
        too_deep = too_deep || depth > kMostDepth;
        return !too_deep && ++values <= kMostValues;  // else it is parsed, and not kept
      },
      false);
  if (too_deep) return source->wrong("nested too deep");
  if (values > kMostValues) return source->wrong("more than a million values");
  if (!json.is_object()) return source->wrong("no JSON object");
  return json;
}

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

void put_config(const Json& config, Part* part) {
  if (!config.is_object()) return;
  part->model_type = text_of(config, "model_type");
  part->class_name = text_of(config, "_class_name");
  const auto classes = config.find("architectures");
  if (classes != config.end() && classes->is_array() && !classes->empty() &&
      classes->front().is_string()) {
    part->class_name = classes->front().get<std::string>();
  }
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (part->config_dtype == Dtype::kUnknown) part->config_dtype = of_torch(text_of(config, key));
  }
  part->quantized = config.contains("quantization_config");
}

// A name out of a file must stay in its folder.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name.find('/') == std::string::npos && name != ".." && name != ".";
}

// What one checkpoint may take: many names of one large file multiply its tensors.
struct Budget {
  Clock::time_point until;
  size_t tensors = kMostTensors;  // and files
  size_t names = kMostNames;
};

Result<bool> read_file(const Source& source, Format format, uint32_t number, Part* part) {
  switch (format) {
    case Format::kSafetensors:
      return read_safetensors(source, number, &part->tensors);
    case Format::kTorchZip:
      return read_torch_zip(source, number, &part->tensors);
    case Format::kGguf:
      return read_gguf(source, number, &part->tensors);
    case Format::kTorchLegacy:
      part->tensors.push_back({"", Dtype::kUnknown, 0, source.size(), 0, number, false});
      return true;
  }
  return true;
}

Result<bool> add_file(const fs::path& path, Budget* budget, Part* part) {
  if (Clock::now() > budget->until) return Error{path.string() + ": not read, it takes too long"};
  const auto source = Source::open(path);
  if (!source) return source.error();
  const auto format = format_of(*source);
  if (!format) return format.error();
  const auto number = static_cast<uint32_t>(part->files.size());
  part->files.push_back({path, source->size(), *format});
  const size_t first = part->tensors.size();
  const auto read = read_file(*source, *format, number, part);
  if (!read) return read.error();
  size_t names = 0;
  for (size_t i = first; i < part->tensors.size(); ++i) names += part->tensors[i].name.size();
  const size_t tensors = part->tensors.size() - first + 1;
  if (tensors > budget->tensors || names > budget->names) {
    return source->wrong("more than a million tensors, or 64 MiB of names, with those before it");
  }
  budget->tensors -= tensors;
  budget->names -= names;
  return true;
}

// The files that a *.index.json names, each tensor in the one that it is said to be in.
Result<bool> add_indexed(const fs::path& index, Budget* budget, Part* part) {
  const auto json = read_json(index, kMostIndex);
  if (!json) return json.error();
  const auto wrong = [&](const std::string& what) { return Error{index.string() + ": " + what}; };
  const auto map = json->find("weight_map");
  if (map == json->end() || !map->is_object()) return wrong("no weight_map");
  std::map<std::string, std::set<std::string>> files;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !is_plain_name(file.get<std::string>())) {
      return wrong("tensor " + tensor + " is in no file of this folder");
    }
    files[file.get<std::string>()].insert(tensor);
    if (files.size() > kMostFiles) return wrong("it names more than 4096 files");
  }
  for (auto& [file, named] : files) {
    const size_t first = part->tensors.size();
    const auto added = add_file(index.parent_path() / file, budget, part);
    if (!added) return added.error();
    for (size_t i = first; i < part->tensors.size(); ++i) named.erase(part->tensors[i].name);
    const Format format = part->files.back().format;
    if (!named.empty() && format == Format::kSafetensors) {
      return wrong("tensor " + *named.begin() + " is not in " + file);
    }
  }
  return true;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (names.size() == kMostEntries) break;
    names.push_back(at->path().filename());
  }
  std::ranges::sort(names);
  return names;
}

// "fp16" where `name` is that variant of the weights STEM.ENDING, or of their index, "" where it is
// those; none for another name.
std::optional<std::string> variant_of(const std::string& name, const std::string& stem,
                                      const std::string& ending) {
  if (!name.starts_with(stem + ".")) return std::nullopt;
  std::string variant = name.substr(stem.size());
  if (variant.ends_with(".json")) {
    // ".safetensors.index.json", ".safetensors.index.fp16.json"
    if (!variant.starts_with(ending + ".index")) return std::nullopt;
    variant = variant.substr(0, variant.size() - 5).substr(ending.size() + 6);
  } else {
    // ".safetensors", ".fp16.safetensors"
    if (!variant.ends_with(ending)) return std::nullopt;
    variant.resize(variant.size() - ending.size());
  }
  // A shard is no variant ("model.fp16-00001-of-00002.safetensors").
  if (std::ranges::count(variant, '.') > 1 || variant.find("-of-") != variant.npos) {
    return std::nullopt;
  }
  return variant.empty() ? "" : variant.substr(1);
}

// Weights of a folder, by their file's name or that of their index.
struct Named {
  std::string variant;  // "" for those that are no variant
  std::string name;
};

const Named* of_variant(const std::vector<Named>& weights, const std::string& variant) {
  const auto found = std::ranges::find(weights, variant, &Named::variant);
  return found == weights.end() ? nullptr : &*found;
}

// One for each variant that there is, in the order in which a library chooses among them: no
// variant before a variant ("model.fp16.safetensors"), and safetensors before torch's files.
std::vector<Named> weights_in(const fs::path& folder, const std::vector<std::string>& stems) {
  std::vector<Named> found;
  const std::vector<std::string> names = names_in(folder);
  for (const std::string& stem : stems) {
    for (const char* ending : {".safetensors", ".bin"}) {
      // These two are not written.
      if (stem + ending == "pytorch_model.safetensors" || stem + ending == "model.bin") continue;
      for (const std::string& name : names) {
        const auto variant = variant_of(name, stem, ending);
        if (!variant || of_variant(found, *variant) != nullptr) continue;
        found.push_back({*variant, name});
      }
    }
  }
  std::ranges::stable_sort(found, {}, [](const Named& one) { return !one.variant.empty(); });
  return found;
}

Result<bool> add_named(const fs::path& folder, const Named& named, Budget* budget, Part* part) {
  part->variant = named.variant;
  return named.name.ends_with(".json") ? add_indexed(folder / named.name, budget, part)
                                       : add_file(folder / named.name, budget, part);
}

// What a component has a config.json of, and no weights.
bool is_without_weights(const std::string& class_name) {
  for (const char* kind : {"Tokenizer", "Processor", "FeatureExtractor", "Scheduler"}) {
    if (class_name.find(kind) != std::string::npos) return true;
  }
  return false;
}

int64_t bytes_of(const Checkpoint& checkpoint) {
  int64_t sum = 0;
  for (const Part& part : checkpoint.parts) {
    for (const File& file : part.files) sum = plus(sum, file.bytes);
  }
  return sum;
}

// `weights`: of each part's folder, whose first are those of `all`. A variant that cannot be read,
// or not with the rest of the budget, is left out.
void add_variants(const std::vector<std::vector<Named>>& weights, Budget* budget, Checkpoint* all) {
  std::set<std::string> variants;
  for (const std::vector<Named>& of_part : weights) {
    for (size_t i = 1; i < of_part.size(); ++i) variants.insert(of_part[i].variant);
  }
  size_t read = 0;
  for (const std::string& variant : variants) {
    if (read++ == kMostVariants) return;
    Checkpoint one{all->path, all->layout, all->pipeline_class, {}, all->missing};
    bool whole = true;
    for (size_t i = 0; i < weights.size() && whole; ++i) {
      const Part& part = all->parts[i];
      one.parts.push_back({part.folder, part.class_name, part.model_type, "", part.config_dtype,
                           part.quantized, {}, {}});
      const Named* named = of_variant(weights[i], variant);
      whole = bool{add_named(fs::path(all->path) / part.folder,
                             named != nullptr ? *named : weights[i].front(), budget,
                             &one.parts.back())};
    }
    if (whole && bytes_of(one) < bytes_of(*all)) all->variants.push_back(std::move(one));
  }
}

Result<Checkpoint> open_pipeline(const fs::path& folder, const Json& index, Budget* budget) {
  Checkpoint all{folder, Layout::kDiffusers, text_of(index, "_class_name"), {}};
  std::vector<std::vector<Named>> weights;
  for (const auto& [name, what] : index.items()) {
    if (name.starts_with("_") || !what.is_array() || what.size() != 2 || !what[1].is_string()) {
      continue;
    }
    std::error_code error;
    if (!is_plain_name(name)) continue;
    if (!fs::is_directory(folder / name, error)) {
      if (all.missing.size() < kMostMissing) all.missing.push_back(name);
      continue;
    }
    Part part;
    part.folder = name;
    const auto config = read_json(folder / name / "config.json", kMostConfig);
    if (!config) return config.error();
    put_config(*config, &part);
    part.class_name = what[1].get<std::string>();
    std::vector<Named> found =
        weights_in(folder / name, {"diffusion_pytorch_model", "model", "pytorch_model"});
    if (!found.empty()) {
      const auto added = add_named(folder / name, found.front(), budget, &part);
      if (!added) return added.error();
      all.parts.push_back(std::move(part));
      weights.push_back(std::move(found));
    } else if (config->is_object() && !is_without_weights(part.class_name)) {
      return Error{(folder / name).string() + ": it has a config.json, and no weights are in it"};
    }
  }
  if (all.parts.empty()) return Error{folder.string() + ": no component of it has weights"};
  add_variants(weights, budget, &all);
  return all;
}

Result<Checkpoint> open_folder(const fs::path& folder, Budget* budget,
                               const std::set<std::string>& only) {
  const auto pipeline = read_json(folder / "model_index.json", kMostConfig);
  if (!pipeline) return pipeline.error();
  if (pipeline->is_object()) return open_pipeline(folder, *pipeline, budget);
  const auto config = read_json(folder / "config.json", kMostConfig);
  if (!config) return config.error();
  Checkpoint all{folder, config->is_object() ? Layout::kTransformers : Layout::kFiles, "", {}};
  Part part;
  put_config(*config, &part);
  std::vector<Named> found;
  if (config->is_object() || only.empty()) {
    found = weights_in(folder, {"model", "pytorch_model", "diffusion_pytorch_model"});
  }
  if (!found.empty()) {
    const auto added = add_named(folder, found.front(), budget, &part);
    if (!added) return added.error();
  }
  if (part.files.empty()) {
    all.layout = Layout::kFiles;
    const std::vector<std::string> names = names_in(folder);
    for (const char* ending : {".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt"}) {
      for (const std::string& name : names) {
        if (!name.ends_with(ending) || part.files.size() == kMostFiles) continue;
        if (!only.empty() && !only.contains(folder / name)) continue;
        const auto added = add_file(folder / name, budget, &part);
        if (!added) return added.error();
      }
      if (!part.files.empty()) break;
    }
  }
  if (part.files.empty()) return Error{folder.string() + ": no weights of a model are in it"};
  all.parts.push_back(std::move(part));
  if (all.layout == Layout::kTransformers) add_variants({std::move(found)}, budget, &all);
  return all;
}

}  // namespace

Result<Checkpoint> open_checkpoint(const std::string& path, Clock::time_point until,
                                   const std::set<std::string>& only) {
  Budget budget{.until = until};
  std::error_code error;
  if (fs::is_directory(path, error)) {
    fs::path folder = fs::path(path).lexically_normal();
    return open_folder(folder.has_filename() ? folder : folder.parent_path(), &budget, only);
  }
  Checkpoint all{path, Layout::kFiles, "", {}};
  Part part;
  const auto added = path.ends_with(".index.json") ? add_indexed(path, &budget, &part)
                                                   : add_file(path, &budget, &part);
  if (!added) return added.error();
  all.parts.push_back(std::move(part));
  return all;
}

}  // namespace oomguard::fit
