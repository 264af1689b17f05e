// What loading a checkpoint takes, for each way of doing it, and whether it fits.
//
// The formulas and where they come from are in docs/fit.md; tests/end_to_end/test_fit.py compares
// them with real loads. All bytes are those that a load adds to a process with its libraries
// imported.
//
// Thread-safety: values and free functions. Callable from a hook: no.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "collector/fit/checkpoint.h"

namespace oomguard::fit {

enum class Library : uint8_t {
  kTransformers5,
  kTransformers4,
  kDiffusers,
  kSafetensors,
  kTorch,
  kLlamaCpp
};
enum class Placement : uint8_t {
  kHost,
  kCuda,     // all of it on the first GPU
  kAuto,     // GPUs (evenly), then the host, then the disk
  kOffload,  // diffusers: on the host, one component at a time on the GPU
};

struct Way {
  Library library = Library::kTransformers5;
  Dtype dtype = Dtype::kUnknown;  // kUnknown: as in the file
  int bits = 0;                   // 8 or 4: quantized while it is loaded (bitsandbytes)
  Placement placement = Placement::kHost;
  bool mapped = true;        // weights stay in the file where they need no conversion
  bool low_cpu_mem = false;  // transformers 4: no skeleton is made first
  bool train = false;        // with AdamW: gradients and two states
  uint8_t variant = 0;       // 0: none, else the checkpoint's variants[variant - 1]

  bool operator==(const Way&) const = default;
};

struct Need {
  int64_t anonymous = 0;       // at the peak; the kernel cannot take it back
  int64_t anonymous_kept = 0;  // afterwards
  int64_t mapped = 0;          // of the files, resident at the most; the kernel takes it back
  int64_t read_each_pass =
      0;  // what stays in the files: mapped weights, and those offloaded to disk
  std::vector<int64_t> gpus;

  bool operator==(const Need&) const = default;
};

struct Room {
  int64_t host = INT64_MAX;   // bytes for the load
  std::vector<int64_t> gpus;  // of each GPU
};

enum class Verdict : uint8_t { kFits, kReadsAgain, kDoesNotFit };

struct Outcome {
  Way way;
  Need need;
  Verdict verdict = Verdict::kFits;
  int64_t missing = 0;     // kDoesNotFit: bytes
  int missing_gpu = -1;    // where: of this GPU, else of the host
  int64_t read_again = 0;  // kReadsAgain: bytes from disk on each pass
};

// What a process holds once it has imported torch and the library.
inline constexpr int64_t kImports = int64_t{320} << 20;
// A prediction is that near to what is measured; what leaves less than this does not fit.
inline constexpr int64_t kMargin = int64_t{64} << 20;

struct Sums {
  int64_t parameters = 0;
  int64_t bytes = 0;              // of the files
  Dtype dtype = Dtype::kUnknown;  // the one that most bytes have
  bool known = true;              // every tensor's dtype and size
};
Sums sums_of(const Checkpoint& checkpoint);

// The checkpoint, or its variant, that is loaded in this way.
const Checkpoint& loaded_by(const Way& way, const Checkpoint& checkpoint);

// The ways that there are for this checkpoint, in an order for people to read; of a variant those
// that convert nothing.
std::vector<Way> ways_of(const Checkpoint& checkpoint, bool with_gpu, bool train);

// What each of them takes, and whether it fits.
std::vector<Outcome> predict(const Checkpoint& checkpoint, const Room& room, bool train);

// Those of a library, the one to recommend first: what fits, on the GPU, in the file's own
// precision.
std::vector<const Outcome*> ranked(const std::vector<Outcome>& outcomes, Library library);
// Its first; nullptr where none fits.
const Outcome* best_of(const std::vector<Outcome>& outcomes, Library library);

// "dtype=torch.bfloat16": the arguments that make a way what it is.
std::string arguments_of(const Way& way, const Checkpoint& checkpoint, const Room& room);
// The lines of Python to paste.
std::vector<std::string> call_of(const Way& way, const Checkpoint& checkpoint, const Room& room);

}  // namespace oomguard::fit
