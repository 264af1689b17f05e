#include "collector/fit/dtype.h"

#include <algorithm>
#include <iterator>

namespace oomguard::fit {
namespace {

struct Known {
  Dtype dtype;
  const char* torch;
  const char* safetensors;
  const char* storage;
  int bits;
  bool floating;
};

// The first of a dtype's rows has its name for people.
constexpr Known kKnown[] = {
    {Dtype::kFloat64, "float64", "F64", "DoubleStorage", 64, true},
    {Dtype::kFloat32, "float32", "F32", "FloatStorage", 32, true},
    {Dtype::kBfloat16, "bfloat16", "BF16", "BFloat16Storage", 16, true},
    {Dtype::kFloat16, "float16", "F16", "HalfStorage", 16, true},
    {Dtype::kFloat8, "float8", "", "", 8, false},
    {Dtype::kFloat8, "float8_e4m3fn", "F8_E4M3", "", 8, false},
    {Dtype::kFloat8, "float8_e5m2", "F8_E5M2", "", 8, false},
    {Dtype::kFloat8, "float8_e8m0fnu", "F8_E8M0", "", 8, false},
    {Dtype::kFloat8, "float8_e4m3fnuz", "F8_E4M3FNUZ", "", 8, false},
    {Dtype::kFloat8, "float8_e5m2fnuz", "F8_E5M2FNUZ", "", 8, false},
    {Dtype::kFloat4, "float4", "F4", "", 4, false},
    {Dtype::kComplex64, "complex64", "C64", "ComplexFloatStorage", 64, false},
    {Dtype::kInt64, "int64", "I64", "LongStorage", 64, false},
    {Dtype::kInt64, "uint64", "U64", "", 64, false},
    {Dtype::kInt32, "int32", "I32", "IntStorage", 32, false},
    {Dtype::kInt32, "uint32", "U32", "", 32, false},
    {Dtype::kInt16, "int16", "I16", "ShortStorage", 16, false},
    {Dtype::kInt16, "uint16", "U16", "", 16, false},
    {Dtype::kInt8, "int8", "I8", "CharStorage", 8, false},
    {Dtype::kInt8, "uint8", "U8", "ByteStorage", 8, false},
    {Dtype::kInt8, "bool", "BOOL", "BoolStorage", 8, false},
    {Dtype::kBlocks, "quantized blocks", "", "", 0, false},
};

const Known* find(Dtype dtype) {
  const auto* one = std::ranges::find(kKnown, dtype, &Known::dtype);
  return one == std::end(kKnown) ? nullptr : one;
}

Dtype find(std::string_view name, const char* Known::*column) {
  if (name.empty()) return Dtype::kUnknown;
  for (const Known& one : kKnown) {
    if (name == one.*column) return one.dtype;
  }
  return Dtype::kUnknown;
}

}  // namespace

const char* name_of(Dtype dtype) {
  const Known* one = find(dtype);
  return one == nullptr ? "unknown" : one->torch;
}

int bits_of(Dtype dtype) {
  const Known* one = find(dtype);
  return one == nullptr ? 0 : one->bits;
}

bool is_floating(Dtype dtype) {
  const Known* one = find(dtype);
  return one != nullptr && one->floating;
}

Dtype of_safetensors(std::string_view name) { return find(name, &Known::safetensors); }

Dtype of_torch(std::string_view name) {
  if (name.starts_with("torch.")) name.remove_prefix(6);
  return find(name, &Known::torch);
}

Dtype of_storage(std::string_view name) { return find(name, &Known::storage); }

}  // namespace oomguard::fit
