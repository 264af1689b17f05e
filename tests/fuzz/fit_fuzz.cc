// Headers of checkpoints: safetensors, zip archives of torch, pickles and GGUF, then every
// prediction.
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "collector/fit/files.h"
#include "collector/fit/pickle.h"
#include "collector/fit/predict.h"

using namespace oomguard;

static void predict_all(fit::Part part) {
  part.files.resize(1);
  for (const fit::Layout layout :
       {fit::Layout::kFiles, fit::Layout::kTransformers, fit::Layout::kDiffusers}) {
    const fit::Checkpoint checkpoint{"m", layout, "", {part}};
    const fit::Room room{1 << 30, {1 << 30, 1 << 30}};
    for (const bool train : {false, true}) {
      const auto outcomes = fit::predict(checkpoint, room, train);
      for (const auto& one : outcomes) {
        if (one.need.anonymous < 0 || one.need.mapped < 0 || one.missing < 0) abort();
        for (const int64_t bytes : one.need.gpus) {
          if (bytes < 0) abort();
        }
        if (fit::call_of(one.way, checkpoint, room).empty()) abort();
      }
    }
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<fit::PickledTensor> pickled;
  fit::walk_pickle({reinterpret_cast<const char*>(data), size}, &pickled);
  const int fd = ::memfd_create("checkpoint", MFD_CLOEXEC);
  if (fd < 0 || ::write(fd, data, size) != static_cast<ssize_t>(size)) abort();
  const auto source = fit::Source::of_descriptor(fd, "fuzzed");
  if (!source) return 0;
  fit::Part part;
  const auto format = fit::format_of(*source);
  bool sound = false;
  if (!format) return 0;
  switch (*format) {
    case fit::Format::kSafetensors:
      sound = static_cast<bool>(fit::read_safetensors(*source, 0, &part.tensors));
      break;
    case fit::Format::kTorchZip:
      sound = static_cast<bool>(fit::read_torch_zip(*source, 0, &part.tensors));
      break;
    case fit::Format::kGguf:
      sound = static_cast<bool>(fit::read_gguf(*source, 0, &part.tensors));
      break;
    case fit::Format::kTorchLegacy:
      break;
  }
  if (sound) predict_all(part);
  return 0;
}
