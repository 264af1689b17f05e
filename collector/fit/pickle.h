// The tensors that a pickle of torch.save names, found without executing it.
//
// Only the opcodes and the shapes that torch's own pickles have are followed; nothing is imported
// or called. Time and memory grow with the pickle's length alone. Thread-safety: no state. Callable
// from a hook: no.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "collector/fit/dtype.h"

namespace oomguard::fit {

// Views into the pickle, of 4096 bytes at the most: one text can be the name of many tensors.
struct PickledTensor {
  std::string_view name;     // the key of the dictionary that it is in; "" for none
  std::string_view storage;  // the archive's member "data/STORAGE"
  Dtype dtype = Dtype::kUnknown;
  int64_t offset = 0;  // in the storage, in elements; -1 where that is no number
  int64_t elements = 0;
  uint32_t dimensions = 0;
};

// false where it is no pickle of that kind; `tensors` is then of no use.
bool walk_pickle(std::string_view pickle, std::vector<PickledTensor>* tensors);

}  // namespace oomguard::fit
