#include "shim/trace/samples.h"

namespace oomguard::trace {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr unsigned kGenerationShift = 56;  // user addresses have 47 bits, 56 at most

size_t home(uintptr_t address) noexcept {
  return static_cast<size_t>(((address >> 4) * 0xD6E8FEB86659FD93ull) >> 40);
}

}  // namespace

constinit Samples samples;

uint64_t Samples::key_of(uintptr_t address) const noexcept {
  return address | generation_.load(kRelaxed) << kGenerationShift;
}

bool Samples::add(uintptr_t address, const Sample& sample) noexcept {
  const uint64_t key = key_of(address);
  const size_t start = home(address);
  for (size_t i = 0; i < kProbe; ++i) {
    const size_t slot = (start + i) % kSlots;
    uint64_t seen = keys_[slot].load(kRelaxed);
    const bool is_free = seen == 0 || seen >> kGenerationShift != key >> kGenerationShift;
    if (seen == kBusy || !is_free) continue;
    if (!keys_[slot].compare_exchange_strong(seen, kBusy, std::memory_order_acq_rel)) continue;
    entries_[slot].site.store(sample.site, kRelaxed);
    entries_[slot].blocks.store(sample.blocks, kRelaxed);
    entries_[slot].weight.store(sample.weight, kRelaxed);
    count_.fetch_add(1, kRelaxed);
    keys_[slot].store(key, std::memory_order_release);  // pairs with remove's acquire
    return true;
  }
  return false;
}

bool Samples::remove(uintptr_t address, Sample* out) noexcept {
  const uint64_t key = key_of(address);
  const size_t start = home(address);
  for (size_t i = 0; i < kProbe; ++i) {
    const size_t slot = (start + i) % kSlots;
    uint64_t seen = keys_[slot].load(std::memory_order_acquire);
    if (seen != key) continue;
    if (!keys_[slot].compare_exchange_strong(seen, kBusy, std::memory_order_acq_rel)) return false;
    *out = {entries_[slot].site.load(kRelaxed), entries_[slot].blocks.load(kRelaxed),
            entries_[slot].weight.load(kRelaxed)};
    count_.fetch_sub(1, kRelaxed);
    keys_[slot].store(0, std::memory_order_release);
    return true;
  }
  return false;
}

void Samples::on_fork_child() noexcept {
  generation_.store((generation_.load(kRelaxed) + 1) & 0xff, kRelaxed);
  count_.store(0, kRelaxed);
}

}  // namespace oomguard::trace
