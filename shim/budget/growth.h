// How much a counter grew lately: the sum of its steps up within a sliding window, in eight
// buckets. Shrinking counts as none. Plain state of one thread (the watchdog's), no allocation.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::budget {

class Growth {
 public:
  constexpr explicit Growth(int64_t window_ns) : bucket_ns_(window_ns / kBuckets) {}

  // The counter is `value` now. The first call only notes it.
  constexpr void update(int64_t value, int64_t now_ns) {
    const int64_t bucket = now_ns / bucket_ns_;
    if (known_) {
      for (int64_t passed = bucket_ + 1; passed <= bucket && passed <= bucket_ + kBuckets;
           ++passed) {
        steps_[static_cast<size_t>(passed % kBuckets)] = 0;
      }
      if (value > last_) steps_[static_cast<size_t>(bucket % kBuckets)] += value - last_;
      moved_ = value != last_;
    }
    known_ = true;
    bucket_ = bucket;
    last_ = value;
  }
  constexpr int64_t recent() const {
    int64_t sum = 0;
    for (const int64_t step : steps_) sum += step;
    return sum;
  }
  // The last update changed something.
  constexpr bool moved() const { return moved_; }

 private:
  static constexpr int64_t kBuckets = 8;

  int64_t bucket_ns_;
  int64_t bucket_ = 0;
  int64_t last_ = 0;
  int64_t steps_[kBuckets] = {};
  bool known_ = false;
  bool moved_ = false;
};

}  // namespace oomguard::budget
