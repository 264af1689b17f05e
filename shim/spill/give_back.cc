#include "shim/spill/give_back.h"

#include <algorithm>

#include "collector/probe/kernel_file.h"
#include "collector/probe/mappings.h"
#include "shim/spill/private_pages.h"
#include "shim/spill/stop.h"

namespace oomguard::spill {
namespace {

constexpr int64_t kStopNs = 200'000'000;
constexpr uint64_t kPiece = 2 * 1024 * 1024;

bool copy_piece(Store& store, uintptr_t address, uint64_t offset, uint64_t size) noexcept {
  const long copy = map_private(0, size, 0);
  if (is_error(copy)) return false;
  if (store.read(offset, reinterpret_cast<void*>(copy), size) && sleepers_unmoved() &&
      move_over(copy, size, address)) {
    return true;
  }
  sys::call(SYS_munmap, copy, static_cast<long>(size));
  return false;
}

bool restore(Store& store, const probe::Mapping& mapping) noexcept {
  if (call_points_into(mapping.start, mapping.end)) return false;
  const uint64_t end = mapping.offset + (mapping.end - mapping.start);
  const auto address_of = [&](uint64_t offset) { return mapping.start + (offset - mapping.offset); };
  uint64_t at = mapping.offset;
  while (at < end) {
    uint64_t data = end;
    uint64_t hole = end;
    if (!store.next_data(at, end, &data, &hole)) data = end;
    if (data > at && is_error(map_private(address_of(at), data - at, MAP_FIXED))) return false;
    for (at = data; at < hole && at < end;) {
      const uint64_t size = std::min(kPiece, hole - at);
      if (!copy_piece(store, address_of(at), at, size)) return false;
      at += size;
    }
  }
  return true;
}

bool restore_all(Store& store) noexcept {
  const probe::OneShot maps({"/proc/thread-self", "maps"});
  if (!maps) return false;
  probe::CharStream in(maps.fd());
  probe::Mapping mapping;
  while (probe::read_mapping(in, &mapping)) {
    if (mapping.shared && store.holds(mapping) && !restore(store, mapping)) return false;
  }
  return true;
}

}  // namespace

bool give_back(Store& store) noexcept {
  const bool done = stop_threads(kStopNs) && restore_all(store) && sleepers_unmoved();
  resume_threads();
  return done;
}

}  // namespace oomguard::spill
