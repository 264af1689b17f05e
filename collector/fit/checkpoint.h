// What a checkpoint holds, by the headers of its files. No weight is read.
//
// The files may be anybody's: sizes, counts and depths are bounded before anything is allocated by
// them, and what lies against the file's own size is an error that names it.
//
// Thread-safety: values and free functions. Callable from a hook: no.
#pragma once

#include <chrono>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "collector/fit/dtype.h"
#include "collector/record/result.h"

namespace oomguard::fit {

struct Tensor {
  std::string name;
  Dtype dtype = Dtype::kUnknown;
  int64_t elements = 0;
  int64_t bytes = 0;  // in the file; those of a storage that several views show count once
  uint32_t dimensions = 0;
  uint32_t file = 0;    // index into Part::files
  bool shares = false;  // another name of the same elements of a storage (torch's files)
};

enum class Format : uint8_t {
  kSafetensors,
  kTorchZip,     // torch.save since 1.6: can be mapped
  kTorchLegacy,  // before: a pickle, which is read into memory
  kGguf,
};

struct File {
  std::string path;
  int64_t bytes = 0;
  Format format = Format::kSafetensors;
};

// One model: the whole checkpoint, or a component of a pipeline.
struct Part {
  std::string folder;      // within the checkpoint; "" for all of it
  std::string class_name;  // "LlamaForCausalLM"; "" where no config says it
  std::string model_type;  // "llama"
  std::string variant;     // "fp16" of "model.fp16.safetensors"
  Dtype config_dtype = Dtype::kUnknown;
  bool quantized = false;  // its config names a quantization: it is loaded as it is
  std::vector<File> files;
  std::vector<Tensor> tensors;
};

enum class Layout : uint8_t {
  kFiles,         // weights alone
  kTransformers,  // a folder with a config.json
  kDiffusers,     // a folder with a model_index.json
};

struct Checkpoint {
  std::string path;  // the folder, or the file where only that was named
  Layout layout = Layout::kFiles;
  std::string pipeline_class;  // of a model_index.json
  std::vector<Part> parts;
  // Folders that a model_index.json names and that are not there.
  std::vector<std::string> missing = {};
  // The same with the files of a variant ("fp16"), where that has some of its own and less in them;
  // a component without it is the same.
  std::vector<Checkpoint> variants = {};
};

// A folder (of transformers, of diffusers, or with weight files alone), an index.json, or one file.
// The error names what is wrong, and the file; also where it would take longer than until `until`,
// which is looked at before each file. Of a folder without a model's config only the files `only`
// (by their paths) are read, where that is not empty.
using Clock = std::chrono::steady_clock;
Result<Checkpoint> open_checkpoint(const std::string& path,
                                   Clock::time_point until = Clock::time_point::max(),
                                   const std::set<std::string>& only = {});

}  // namespace oomguard::fit
