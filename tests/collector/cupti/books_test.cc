#include "collector/cupti/books.h"

#include <gtest/gtest.h>

namespace oomguard::cupti {
namespace {

constexpr uint64_t kMiB = 1 << 20;

const CUpti_Activity& as_record(const auto& record) {
  return reinterpret_cast<const CUpti_Activity&>(record);
}

CUpti_ActivityMemory4 memory(bool taken, CUpti_ActivityMemoryKind kind, uint64_t address,
                             uint64_t bytes, uint32_t device = 0) {
  CUpti_ActivityMemory4 record = {};
  record.kind = CUPTI_ACTIVITY_KIND_MEMORY2;
  record.memoryOperationType = taken ? CUPTI_ACTIVITY_MEMORY_OPERATION_TYPE_ALLOCATION
                                     : CUPTI_ACTIVITY_MEMORY_OPERATION_TYPE_RELEASE;
  record.memoryKind = kind;
  record.address = address;
  record.bytes = bytes;
  record.deviceId = device;
  record.PC = 7;
  return record;
}

CUpti_ActivityMemoryPool3 pool(CUpti_ActivityMemoryPoolOperationType operation, uint64_t bytes,
                               uint64_t timestamp) {
  CUpti_ActivityMemoryPool3 record = {};
  record.kind = CUPTI_ACTIVITY_KIND_MEMORY_POOL;
  record.memoryPoolOperationType = operation;
  record.memoryPoolType = CUPTI_ACTIVITY_MEMORY_POOL_TYPE_LOCAL;
  record.address = 0x900;
  record.size = bytes;
  record.timestamp = timestamp;
  return record;
}

int64_t nothing(int, int) { return 0; }
int64_t eight_on_the_first(int device, int kind) {
  return device == 0 && kind == kOomguardAuditDevice ? 8 : 0;
}
int knows_nothing(uint64_t, int) { return 0; }
std::string name(uint64_t pc) { return "code " + std::to_string(pc); }

TEST(CuptiBooks, SumsDoNotDependOnTheOrder) {
  Books books;
  books.enter(as_record(memory(false, CUPTI_ACTIVITY_MEMORY_KIND_DEVICE, 1, kMiB)));
  books.enter(as_record(memory(true, CUPTI_ACTIVITY_MEMORY_KIND_DEVICE, 1, kMiB)));
  books.enter(as_record(memory(true, CUPTI_ACTIVITY_MEMORY_KIND_DEVICE, 2, 3 * kMiB, 1)));
  books.enter(as_record(memory(true, CUPTI_ACTIVITY_MEMORY_KIND_ARRAY, 3, 5, 1)));
  EXPECT_EQ(books.held(0, kOomguardAuditDevice), 0);
  EXPECT_EQ(books.held(1, kOomguardAuditDevice), static_cast<int64_t>(3 * kMiB));
  EXPECT_EQ(books.held(1, kOomguardAuditArray), 5);
  EXPECT_EQ(books.records(), 4u);
}

TEST(CuptiBooks, PartsOfAPoolCountByWhatItReserved) {
  Books books;
  CUpti_ActivityMemory4 part = memory(true, CUPTI_ACTIVITY_MEMORY_KIND_DEVICE, 1, 100);
  part.memoryPoolConfig.memoryPoolType = CUPTI_ACTIVITY_MEMORY_POOL_TYPE_LOCAL;
  part.memoryPoolConfig.address = 0x900;
  part.memoryPoolConfig.pool.size = 32 * kMiB;
  part.timestamp = 5;
  books.enter(as_record(part));
  books.enter(as_record(pool(CUPTI_ACTIVITY_MEMORY_POOL_OPERATION_TYPE_CREATED, 0, 1)));
  EXPECT_EQ(books.held(0, kOomguardAuditDevice), 0);
  EXPECT_EQ(books.held(0, kOomguardAuditPool), static_cast<int64_t>(32 * kMiB));
  books.enter(as_record(pool(CUPTI_ACTIVITY_MEMORY_POOL_OPERATION_TYPE_TRIMMED, 2 * kMiB, 6)));
  EXPECT_EQ(books.held(0, kOomguardAuditPool), static_cast<int64_t>(2 * kMiB));
  books.enter(as_record(pool(CUPTI_ACTIVITY_MEMORY_POOL_OPERATION_TYPE_DESTROYED, 2 * kMiB, 7)));
  EXPECT_EQ(books.held(0, kOomguardAuditPool), 0);
}

TEST(CuptiBooks, NamesWhatTheLedgerDoesNotKnow) {
  Books books;
  books.enter(as_record(memory(true, CUPTI_ACTIVITY_MEMORY_KIND_DEVICE, 1, 8)));
  EXPECT_EQ(books.compare({eight_on_the_first, knows_nothing}, name),
            std::vector<std::string>{"GPU 0 device: ledger 8, CUPTI 8, difference 0 bytes"});
  EXPECT_EQ(books.compare({nothing, knows_nothing}, name),
            (std::vector<std::string>{"GPU 0 device: ledger 0, CUPTI 8, difference -8 bytes",
                                      "  8 bytes that the ledger does not know, by code 7"}));
}

TEST(CuptiBooks, PassesOverWhatTheGateDoesNotCount) {
  Books books;
  books.enter(as_record(memory(true, CUPTI_ACTIVITY_MEMORY_KIND_DEVICE_STATIC, 1, 8)));
  books.enter(as_record(memory(true, CUPTI_ACTIVITY_MEMORY_KIND_PAGEABLE, 2, 8)));
  CUpti_Activity other = {};
  other.kind = CUPTI_ACTIVITY_KIND_KERNEL;
  books.enter(other);
  EXPECT_TRUE(books.compare({nothing, knows_nothing}, name).empty());
}

}  // namespace
}  // namespace oomguard::cupti
