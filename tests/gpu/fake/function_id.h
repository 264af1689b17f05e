// One number for each function that the fake driver exports.
#pragma once

namespace fake {

enum class Id {
#define FAKE_CUDA(base, version, symbol) symbol,
#define FAKE_CUDA_PTSZ(base, version, symbol) symbol,
#include "tests/gpu/fake/functions.def"
#undef FAKE_CUDA
#undef FAKE_CUDA_PTSZ
  kCount
};

}  // namespace fake
