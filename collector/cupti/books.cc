#include "collector/cupti/books.h"

#include <set>

namespace oomguard::cupti {
namespace {

constexpr const char* kNames[kOomguardAuditClasses] = {"device", "array", "pool", "managed",
                                                       "pinned"};

// -1: nothing that the gate counts (a program's own static variables, pageable memory).
int kind_of(CUpti_ActivityMemoryKind kind) {
  switch (kind) {
    case CUPTI_ACTIVITY_MEMORY_KIND_DEVICE: return kOomguardAuditDevice;
    case CUPTI_ACTIVITY_MEMORY_KIND_ARRAY: return kOomguardAuditArray;
    case CUPTI_ACTIVITY_MEMORY_KIND_MANAGED: return kOomguardAuditManaged;
    case CUPTI_ACTIVITY_MEMORY_KIND_PINNED: return kOomguardAuditPinned;
    default: return -1;
  }
}

}  // namespace

void Books::enter(const CUpti_Activity& record) {
  if (record.kind == CUPTI_ACTIVITY_KIND_MEMORY2) {
    enter_memory(reinterpret_cast<const CUpti_ActivityMemory4&>(record));
  } else if (record.kind == CUPTI_ACTIVITY_KIND_MEMORY_POOL) {
    enter_pool(reinterpret_cast<const CUpti_ActivityMemoryPool3&>(record));
  } else {
    return;
  }
  ++records_;
}

void Books::enter_memory(const CUpti_ActivityMemory4& record) {
  const int kind = kind_of(record.memoryKind);
  const auto& pool = record.memoryPoolConfig;
  const CUpti_ActivityMemoryPoolType part_of = pool.memoryPoolType;
  if (kind == kOomguardAuditDevice && part_of != CUPTI_ACTIVITY_MEMORY_POOL_TYPE_INVALID) {
    // Part of a pool, which counts as a whole; an imported one is somebody else's.
    if (part_of == CUPTI_ACTIVITY_MEMORY_POOL_TYPE_LOCAL) {
      note_pool(pool.address, static_cast<int>(record.deviceId), pool.pool.size, record.timestamp);
    }
    return;
  }
  if (kind < 0) return;
  const int device = kind == kOomguardAuditPinned ? -1 : static_cast<int>(record.deviceId);
  Block& block = blocks_[record.address];
  const auto bytes = static_cast<int64_t>(record.bytes);
  if (record.memoryOperationType == CUPTI_ACTIVITY_MEMORY_OPERATION_TYPE_ALLOCATION) {
    block.pc = record.PC;
    block.bytes += bytes;
  } else {
    block.bytes -= bytes;
  }
  block.device = device;
  block.kind = kind;
  if (block.bytes == 0) blocks_.erase(record.address);
}

void Books::enter_pool(const CUpti_ActivityMemoryPool3& record) {
  if (record.memoryPoolType != CUPTI_ACTIVITY_MEMORY_POOL_TYPE_LOCAL) return;
  const bool ended =
      record.memoryPoolOperationType == CUPTI_ACTIVITY_MEMORY_POOL_OPERATION_TYPE_DESTROYED;
  note_pool(record.address, static_cast<int>(record.deviceId), ended ? 0 : record.size,
            record.timestamp);
}

void Books::note_pool(uint64_t address, int device, uint64_t bytes, uint64_t timestamp) {
  Pool& pool = pools_[address];
  if (timestamp >= pool.timestamp) pool = {device, bytes, timestamp};
}

int64_t Books::held(int device, int kind) const {
  int64_t sum = 0;
  if (kind == kOomguardAuditPool) {
    for (const auto& [address, pool] : pools_) {
      if (pool.device == device) sum += static_cast<int64_t>(pool.bytes);
    }
  } else {
    for (const auto& [address, block] : blocks_) {
      if (block.device == device && block.kind == kind) sum += block.bytes;
    }
  }
  return sum;
}

std::vector<std::string> Books::compare(const OomguardAuditLedger& ledger,
                                        std::string (*name_of)(uint64_t pc)) const {
  constexpr int kMostDevices = 32;  // as many as the ledger has
  std::vector<std::string> lines;
  for (int device = -1; device < kMostDevices; ++device) {
    for (int kind = 0; kind < kOomguardAuditClasses; ++kind) {
      if ((kind == kOomguardAuditPinned) != (device < 0)) continue;
      const int64_t here = held(device, kind);
      const int64_t there = ledger.held(device, kind);
      if (here == 0 && there == 0) continue;
      const std::string where = device < 0 ? "host" : "GPU " + std::to_string(device);
      lines.push_back(where + " " + kNames[kind] + ": ledger " + std::to_string(there) +
                      ", CUPTI " + std::to_string(here) + ", difference " +
                      std::to_string(there - here) + " bytes");
      if (here == there) continue;
      std::map<std::string, int64_t> unknown;
      for (const auto& [address, block] : blocks_) {
        if (block.device == device && block.kind == kind && !ledger.knows(address, kind)) {
          unknown[name_of(block.pc)] += block.bytes;
        }
      }
      for (const auto& [call, bytes] : unknown) {
        lines.push_back("  " + std::to_string(bytes) + " bytes that the ledger does not know, by " +
                        call);
      }
    }
  }
  return lines;
}

}  // namespace oomguard::cupti
