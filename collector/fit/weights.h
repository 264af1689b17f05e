// What becomes of a part's weights when they are loaded with another dtype.
// Thread-safety: values and free functions. Callable from a hook: no.
#pragma once

#include <cstdint>
#include <vector>

#include "collector/fit/checkpoint.h"

namespace oomguard::fit {

// Sums that stay at INT64_MAX where a file's numbers are absurd. Neither operand is negative.
inline int64_t plus(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}
inline int64_t times(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

// How they are loaded.
struct Target {
  Dtype dtype = Dtype::kUnknown;  // kUnknown: as in the file
  int bits = 0;                   // 8, 4: linear layers are quantized
  bool merges_experts = false;    // transformers 5 makes one tensor of a layer's experts
};

struct Weights {
  int64_t files = 0;  // bytes of the files
  int64_t largest_file = 0;
  int64_t same = 0;          // bytes that stay as they are, and mapped
  int64_t made = 0;          // bytes of what is converted, merged or quantized
  int64_t made_again = 0;    // of it for other names of the same tensor, until they are tied
  int64_t made_in_file = 0;  // the same weights in the files
  int64_t largest_made_in_file = 0;  // of one file
  int64_t largest = 0;               // the largest tensor, in the dtype that it is loaded with
  int64_t merge_step = 0;            // merging a layer's experts: beyond its result
  bool merge_converts = false;       // and converts them first
  int64_t merge_left = 0;       // converted experts that the allocator keeps when they are merged
  std::vector<int64_t> layers;  // bytes of each, in the order of a device map

  int64_t all() const { return plus(same, made); }
};

Weights weights_of(const Part& part, const Target& target);

// The tensor is one of several experts of a layer ("...experts.3.w1.weight").
bool is_expert(const std::string& name);

}  // namespace oomguard::fit
