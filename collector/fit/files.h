// The headers of each format of weight files.
//
// Each appends the file's tensors to `tensors`, with the index `file`, or says what is wrong.
// Thread-safety: no state. Callable from a hook: no.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "collector/fit/checkpoint.h"
#include "collector/fit/source.h"

namespace oomguard::fit {

// Of one file, and of all files of a checkpoint.
inline constexpr size_t kMostTensors = 1'000'000;
inline constexpr size_t kMostNames = size_t{64} << 20;  // bytes of all tensors' names

// By its first bytes, whatever its name is.
Result<Format> format_of(const Source& source);

Result<bool> read_safetensors(const Source& source, uint32_t file, std::vector<Tensor>* tensors);
// A zip archive, whose pickle is walked and never executed. Where its shape is not torch's the
// tensors are its storages, of unknown dtype.
Result<bool> read_torch_zip(const Source& source, uint32_t file, std::vector<Tensor>* tensors);
Result<bool> read_gguf(const Source& source, uint32_t file, std::vector<Tensor>* tensors);

}  // namespace oomguard::fit
