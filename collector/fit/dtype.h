// Types of the elements of a checkpoint's tensors, and their names in each kind of file.
// Thread-safety: no state. Callable from a hook: no.
#pragma once

#include <cstdint>
#include <string_view>

namespace oomguard::fit {

enum class Dtype : uint8_t {
  kUnknown,
  kFloat64,
  kFloat32,
  kBfloat16,
  kFloat16,
  kFloat8,
  kFloat4,
  kComplex64,
  kInt64,
  kInt32,
  kInt16,
  kInt8,    // signed or not, and bool
  kBlocks,  // of GGUF: several elements share scales
};

// As torch names it ("float32"); "8-bit integers", "unknown", ... where torch has several or none.
const char* name_of(Dtype dtype);
// 0 where that is not known.
int bits_of(Dtype dtype);
// A load with another dtype converts it.
bool is_floating(Dtype dtype);

// kUnknown for what is none of theirs.
Dtype of_safetensors(std::string_view name);  // "BF16"
Dtype of_torch(std::string_view name);        // "bfloat16", "torch.bfloat16"
Dtype of_storage(std::string_view name);      // "BFloat16Storage", of torch's pickles

}  // namespace oomguard::fit
