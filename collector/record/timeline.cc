#include "collector/record/timeline.h"

#include "collector/record/layout.h"

namespace oomguard::record {
namespace {

bool put(const View& view, const Ring& ring, uint64_t* written, const Sample& sample,
         Timeline::MayWrite may_write) {
  SampleRecord& record = view.timeline[ring.first + *written % ring.count];
  if (!may_write(&record, sizeof record)) return false;
  record.sequence.store(0, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);  // before the fields, for who reads now
  record.sample = sample;
  record.sequence.store(++*written, std::memory_order_release);
  return true;
}

}  // namespace

void Timeline::add(const View& view, const Sample& sample, MayWrite may_write) {
  if (view.timeline == nullptr) return;
  put(view, kRings[0], &written_[0], sample, may_write);
  for (uint32_t i = 1; i < kRingCount; ++i) {
    Period& period = periods_[i];
    const int64_t number = sample.at_monotonic_ns / kRings[i].period_ns + 1;
    const bool ended = period.number != 0 && number != period.number;
    if (ended && put(view, kRings[i], &written_[i], period.worst, may_write)) period.number = 0;
    if (period.number == 0 || sample.headroom_bytes < period.worst.headroom_bytes) {
      period.worst = sample;
    }
    if (period.number == 0) period.number = number;
  }
}

}  // namespace oomguard::record
