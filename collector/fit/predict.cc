#include "collector/fit/predict.h"

#include <algorithm>
#include <map>

#include "collector/fit/weights.h"

namespace oomguard::fit {
namespace {

// What a process takes of a GPU, and of the host, before its first tensor is there.
constexpr int64_t kGpuContext = int64_t{512} << 20;
constexpr int64_t kLoaderThreads = 4;  // transformers 5: GLOBAL_WORKERS

bool is_transformers(Library library) {
  return library == Library::kTransformers5 || library == Library::kTransformers4;
}

int64_t tenths(int64_t bytes, int64_t count) { return bytes / 10 * count; }

// transformers on the host: mapped where nothing is converted, else copied tensor by tensor.
void put_host(const Way& way, const Part& part, const Weights& weights, Need* need) {
  const bool sharded = part.files.size() > 1;
  int64_t peak = weights.made;
  int64_t mapped = weights.files;
  int64_t kept = plus(weights.made, weights.merge_left);
  if (!way.mapped) {
    // Each file is read whole, and its tensors are copied out of that.
    peak = plus(weights.files, std::max(weights.largest_file, weights.made));
    kept = plus(weights.made, weights.same);
    mapped = 0;
  } else if (way.library == Library::kTransformers5) {
    peak = plus(peak, plus(std::max(weights.merge_step, weights.merge_left), weights.made_again));
  } else if (is_transformers(way.library)) {
    // One file after the other is let go of; a skeleton is filled in place.
    if (way.low_cpu_mem) peak = plus(peak, weights.made_again);
    if (sharded) mapped = plus(weights.same, weights.largest_made_in_file);
  }
  if (way.bits != 0) peak = plus(peak, weights.largest);
  need->anonymous = plus(need->anonymous, peak);
  need->anonymous_kept = plus(need->anonymous_kept, kept);
  need->mapped = plus(need->mapped, mapped);
  if (way.mapped) need->read_each_pass = plus(need->read_each_pass, weights.same);
}

// A device map fills GPUs, then the host, then the disk, layer by layer. The first GPU and the host
// keep room for the largest layer (accelerate's infer_auto_device_map).
void put_auto(const Way& way, const Weights& weights, const Room& room, Need* need) {
  const int64_t largest = weights.layers.empty() ? 0 : *std::ranges::max_element(weights.layers);
  const auto count = static_cast<int64_t>(room.gpus.size());
  std::vector<int64_t> limits;
  for (size_t i = 0; i < room.gpus.size(); ++i) {
    int64_t limit = std::max<int64_t>(room.gpus[i] - kGpuContext, 0);
    if (count == 1) limit = tenths(limit, 9);
    const int64_t even = plus(weights.all() / std::max<int64_t>(count, 1), times(largest / 4, 5));
    if (i + 1 < room.gpus.size()) limit = std::min(limit, even);
    limits.push_back(i == 0 ? limit - largest : limit);
  }
  limits.push_back(room.host == INT64_MAX
                       ? INT64_MAX
                       : std::max<int64_t>(room.host - kMargin, 0) - largest);
  std::vector<int64_t> placed(limits.size() + 1, 0);
  size_t device = 0;
  for (const int64_t layer : weights.layers) {
    while (device < limits.size() && plus(placed[device], layer) > limits[device]) ++device;
    placed[device] = plus(placed[device], layer);
  }
  const int64_t on_host = placed[limits.size() - 1];
  const int64_t on_disk = placed[limits.size()];
  // Converted and merged weights are anonymous, in the share that they have of all of it.
  const double share = weights.all() == 0
                           ? 0
                           : static_cast<double>(weights.made) / static_cast<double>(weights.all());
  const int64_t made =
      share >= 1 ? on_host
                 : std::min(on_host, static_cast<int64_t>(static_cast<double>(on_host) * share));
  int64_t step = plus(weights.merge_step, weights.made > 0 ? weights.largest : 0);
  // One thread converts a layer's experts before it stacks them.
  if (weights.merge_converts) step = plus(step, times(weights.merge_step / 2, 3));
  if (way.bits != 0) step = plus(step, weights.largest);
  need->anonymous = plus(made, step);
  need->anonymous_kept = made;
  need->mapped = weights.files;
  need->read_each_pass = plus(on_disk, on_host - made);
  for (size_t i = 0; i < room.gpus.size(); ++i) {
    need->gpus[i] = placed[i] > 0 ? plus(placed[i], kGpuContext) : 0;
  }
}

void put_cuda(const Way& way, const Weights& weights, Need* need) {
  const int64_t made = weights.made > 0 ? weights.largest : 0;
  // Threads convert on the host before they copy; quantization has one thread.
  const int64_t threads =
      way.library == Library::kTransformers5 && way.bits == 0 ? kLoaderThreads : 1;
  need->anonymous = plus(need->anonymous, std::min(times(made, threads), weights.made));
  need->mapped = plus(need->mapped, weights.files);
  // Experts are merged, and weights quantized, on the GPU.
  const int64_t step =
      way.bits != 0 ? plus(weights.largest, weights.merge_step) : weights.merge_step;
  need->gpus[0] = plus(need->gpus[0], plus(weights.all(), step));
}

void put_part(const Way& way, const Part& part, const Room& room, Need* need) {
  const Target target{way.dtype, way.bits, way.library == Library::kTransformers5};
  const Weights weights = weights_of(part, target);
  switch (way.placement) {
    case Placement::kHost:
      return put_host(way, part, weights, need);
    case Placement::kCuda:
      if (way.library != Library::kDiffusers) return put_cuda(way, weights, need);
      // The pipeline is loaded on the host, then moved.
      put_host(way, part, weights, need);
      need->read_each_pass = 0;
      need->gpus[0] = plus(need->gpus[0], weights.all());
      return;
    case Placement::kOffload:
      put_host(way, part, weights, need);
      need->read_each_pass = 0;
      // What comes back from the GPU is a copy.
      need->anonymous = plus(need->anonymous, weights.same);
      need->anonymous_kept = plus(need->anonymous_kept, weights.same);
      need->gpus[0] = std::max(need->gpus[0], weights.all());
      return;
    case Placement::kAuto:
      return put_auto(way, weights, room, need);
  }
}

// Weights that are written to become copies of this process; gradients and AdamW's two states have
// their dtype (torch.optim.AdamW).
void put_training(const Way& way, const Checkpoint& checkpoint, Need* need) {
  int64_t weights = 0;
  for (const Part& part : checkpoint.parts) {
    weights = plus(weights, weights_of(part, {way.dtype, 0, false}).all());
  }
  const int64_t all = times(weights, 4);
  if (way.placement == Placement::kHost) {
    need->anonymous = need->anonymous_kept = std::max(all, need->anonymous);
    need->read_each_pass = 0;
  } else {
    need->gpus[0] = all;
  }
}

// torch.load copies what it does not map; llama.cpp and safetensors likewise.
void put_unmapped(const Weights& weights, Need* need) {
  need->anonymous = plus(need->anonymous, plus(weights.same, weights.made));
  need->anonymous_kept = need->anonymous;
}

Need need_of(const Way& way, const Checkpoint& checkpoint, const Room& room) {
  Need need;
  need.gpus.resize(room.gpus.size(), 0);
  for (const Part& part : checkpoint.parts) {
    const bool files_alone = !is_transformers(way.library) && way.library != Library::kDiffusers;
    if (files_alone && !way.mapped) {
      put_unmapped(weights_of(part, {way.dtype, 0, false}), &need);
    } else {
      put_part(way, part, room, &need);
    }
  }
  if (way.train) put_training(way, checkpoint, &need);
  const bool whole = way.placement == Placement::kCuda || way.placement == Placement::kOffload;
  if (whole && !need.gpus.empty()) need.gpus[0] = plus(need.gpus[0], kGpuContext);
  return need;
}

Outcome judge(const Way& way, const Need& need, const Room& room) {
  Outcome outcome{way, need, Verdict::kFits, 0, -1, 0};
  const auto miss = [&](int64_t bytes, int gpu) {
    outcome.verdict = Verdict::kDoesNotFit;
    if (bytes > outcome.missing) {
      outcome.missing = bytes;
      outcome.missing_gpu = gpu;
    }
  };
  if (room.host != INT64_MAX && plus(need.anonymous, kMargin) > room.host) {
    miss(plus(need.anonymous, kMargin) - room.host, -1);
  }
  for (size_t i = 0; i < need.gpus.size(); ++i) {
    if (need.gpus[i] > room.gpus[i]) miss(need.gpus[i] - room.gpus[i], static_cast<int>(i));
  }
  if (outcome.verdict == Verdict::kDoesNotFit || room.host == INT64_MAX) return outcome;
  const int64_t cache = std::max<int64_t>(room.host - need.anonymous_kept - kMargin, 0);
  if (need.read_each_pass > cache) {
    outcome.verdict = Verdict::kReadsAgain;
    // Pages are given up in the order that they were read in: where one pass does not fit, none of
    // it is still there when the next one begins.
    outcome.read_again = need.read_each_pass;
  }
  return outcome;
}

}  // namespace

Sums sums_of(const Checkpoint& checkpoint) {
  Sums sums;
  std::map<Dtype, int64_t> dtypes;
  for (const Part& part : checkpoint.parts) {
    for (const File& file : part.files) sums.bytes = plus(sums.bytes, file.bytes);
    for (const Tensor& tensor : part.tensors) {
      if (tensor.dtype == Dtype::kUnknown) sums.known = false;
      if (tensor.shares) continue;
      sums.parameters = plus(sums.parameters, tensor.elements);
      dtypes[tensor.dtype] = plus(dtypes[tensor.dtype], tensor.bytes);
    }
  }
  int64_t most = -1;
  for (const auto& [dtype, bytes] : dtypes) {
    if (bytes > most) sums.dtype = dtype;
    most = std::max(most, bytes);
  }
  return sums;
}

std::vector<Outcome> predict(const Checkpoint& checkpoint, const Room& room, bool train) {
  std::vector<Outcome> outcomes;
  for (const Way& way : ways_of(checkpoint, !room.gpus.empty(), train)) {
    outcomes.push_back(judge(way, need_of(way, loaded_by(way, checkpoint), room), room));
  }
  return outcomes;
}

std::vector<const Outcome*> ranked(const std::vector<Outcome>& outcomes, Library library) {
  // Less is better.
  const auto rank = [](const Outcome* one) {
    const Way& way = one->way;
    const bool gpu = std::ranges::any_of(one->need.gpus, [](int64_t bytes) { return bytes > 0; });
    const int precision = way.bits == 4                  ? 3
                          : way.bits == 8                ? 2
                          : way.dtype != Dtype::kUnknown ? 1
                                                         : 0;
    // Before what is converted: a variant is not, and is somebody's choice.
    const int variant = way.variant != 0 ? 5 : 0;
    const bool parts = way.placement == Placement::kOffload ||
                       (way.placement == Placement::kAuto &&
                        plus(one->need.anonymous_kept, one->need.read_each_pass) > 0);
    return static_cast<int>(one->verdict) * 1000 + (!one->need.gpus.empty() && !gpu ? 100 : 0) +
           (parts ? 50 : 0) + precision * 10 + variant + (way.mapped ? 0 : 1);
  };
  std::vector<const Outcome*> order;
  for (const Outcome& one : outcomes) {
    if (one.way.library == library) order.push_back(&one);
  }
  std::ranges::stable_sort(order, {}, rank);
  return order;
}

const Outcome* best_of(const std::vector<Outcome>& outcomes, Library library) {
  const std::vector<const Outcome*> order = ranked(outcomes, library);
  const bool fits = !order.empty() && order.front()->verdict != Verdict::kDoesNotFit;
  return fits ? order.front() : nullptr;
}

}  // namespace oomguard::fit
