#include "collector/probe/reading.h"

namespace oomguard::probe {
namespace {

__int128 counted_swap(const Level& level, uint32_t share_permille) {
  const __int128 whole = static_cast<__int128>(level.swap_room) + level.swap_used;
  const __int128 counted = whole * share_permille / 1000 - level.swap_used;
  return counted < 0 ? 0 : counted < level.swap_room ? counted : level.swap_room;
}

}  // namespace

Headroom headroom(const Reading& reading, uint32_t swap_share_permille) {
  Headroom least;
  for (uint32_t i = 0; i < reading.level_count && i < kMaxLevels; ++i) {
    const Level& level = reading.levels[i];
    if (level.limit == kUnlimited) continue;
    __int128 bytes = static_cast<__int128>(level.limit) - level.usage + level.reclaimable +
                     counted_swap(level, swap_share_permille);
    if (bytes < INT64_MIN / 2) bytes = INT64_MIN / 2;
    if (bytes >= least.bytes) continue;
    least.bytes = static_cast<Bytes>(bytes);
    least.level = i;
  }
  return least;
}

}  // namespace oomguard::probe
