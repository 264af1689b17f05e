// Unwind tables: hand-made ones, and this program's own, damaged.
#include "shim/trace/unwind_table.h"

#include <gtest/gtest.h>
#include <link.h>

#include <cstring>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "collector/probe/readable.h"
#include "shim/trace/frame_program.h"
#include "shim/trace/loaded_object.h"
#include "shim/trace/program_headers.h"

namespace oomguard::trace {
namespace {

using Bytes = std::vector<uint8_t>;

// A module in memory: the header with one entry, a common description and one of a function.
class Module {
 public:
  static constexpr uint64_t kFunction = 0x400;  // from the module's start
  static constexpr uint64_t kSize = 0x100;

  Module(const char* augmentation, const Bytes& common, const Bytes& own) {
    put32(0x3b031b01);  // version 1; offsets of 32 bits from here, a count, offsets from the header
    put32(kDescriptions - 4);
    put32(1);
    put32(kFunction);
    const size_t description_at = bytes_.size();
    put32(0);
    bytes_.resize(kDescriptions);
    begin();
    put32(0);
    put8(1);
    for (const char* c = augmentation; *c != '\0'; ++c) put8(static_cast<uint8_t>(*c));
    put8(0);
    put8(1);     // code factor
    put8(0x78);  // data factor -8
    put8(kReturnRegister);
    put8(1);     // of the augmentation's data:
    put8(0x1b);  // addresses are offsets of 32 bits from here
    append(common);
    end();
    const uint32_t own_at = static_cast<uint32_t>(bytes_.size());
    memcpy(bytes_.data() + description_at, &own_at, sizeof own_at);
    begin();
    put32(static_cast<uint32_t>(bytes_.size()) - kDescriptions);
    put32(static_cast<uint32_t>(kFunction - bytes_.size()));
    put32(kSize);
    put8(0);
    append(own);
    end();
    bytes_.resize(0x1000);
  }

  uintptr_t start() const { return reinterpret_cast<uintptr_t>(bytes_.data()); }
  uintptr_t function() const { return start() + kFunction; }
  MappedRange range() const { return {start(), start() + bytes_.size()}; }
  bool row_at(uint64_t offset, FrameRow* out) const {
    MappedRange module = range();
    FrameDescription description;
    return find_description(module, start(), function() + offset, &description) &&
           read_row(module, description, function() + offset, out);
  }

 private:
  static constexpr uint32_t kDescriptions = 64;
  void put8(uint8_t value) { bytes_.push_back(value); }
  void put32(uint32_t value) {
    for (int i = 0; i < 4; ++i) put8(static_cast<uint8_t>(value >> 8 * i));
  }
  void append(const Bytes& more) { bytes_.insert(bytes_.end(), more.begin(), more.end()); }
  void begin() {
    put32(0);
    began_ = bytes_.size();
  }
  void end() {
    while (bytes_.size() % 4 != 0) put8(0);
    const auto length = static_cast<uint32_t>(bytes_.size() - began_);
    memcpy(bytes_.data() + began_ - 4, &length, sizeof length);
  }
  Bytes bytes_;
  size_t began_ = 0;
};

constexpr uint8_t kStack = kStackRegister;
constexpr uint8_t kFrame = kFrameRegister;
constexpr uint8_t kReturn = kReturnRegister;
// The frame address is the stack pointer + 8, the return address lies below it.
const Bytes kAtCall = {0x0c, kStack, 8, 0x80 | kReturn, 1};

TEST(UnwindTable, FollowsAFunctionThroughItsAddresses) {
  // After 4 bytes: + 16, and the frame register is saved; after 8 more: the frame register + 16.
  const Module module("zR", kAtCall,
                      {0x44, 0x0e, 16, 0x80 | kFrame, 2, 0x48, 0x0d, kFrame});
  FrameRow row;
  ASSERT_TRUE(module.row_at(0, &row));
  EXPECT_EQ(row.address_register, kStack);
  EXPECT_EQ(row.address_offset, 8);
  EXPECT_EQ(row.where[kReturn], Where::kSaved);
  EXPECT_EQ(row.value[kReturn], -8);
  EXPECT_EQ(row.where[kFrame], Where::kSame);
  ASSERT_TRUE(module.row_at(4, &row));
  EXPECT_EQ(row.address_offset, 16);
  EXPECT_EQ(row.value[kFrame], -16);
  ASSERT_TRUE(module.row_at(11, &row));
  EXPECT_EQ(row.address_register, kStack);
  ASSERT_TRUE(module.row_at(Module::kSize - 1, &row));
  EXPECT_EQ(row.address_register, kFrame);
  EXPECT_EQ(row.address_offset, 16);
}

TEST(UnwindTable, SaysNothingOfOtherAddresses) {
  const Module module("zR", kAtCall, {});
  FrameRow row;
  EXPECT_FALSE(module.row_at(Module::kSize, &row));
  EXPECT_FALSE(module.row_at(static_cast<uint64_t>(-1), &row));
}

TEST(UnwindTable, RemembersAndRestores) {
  const Module module("zR", kAtCall,
                      {0x0a,               // remember
                       0x44, 0x0e, 64,     // + 64
                       0x07, kReturn,      // the return address is lost
                       0x44, 0x0b,         // as remembered
                       0x44, 0x07, kReturn, 0x44, static_cast<uint8_t>(0xc0 | kReturn)});
  FrameRow row;
  ASSERT_TRUE(module.row_at(5, &row));
  EXPECT_EQ(row.address_offset, 64);
  EXPECT_EQ(row.where[kReturn], Where::kUndefined);
  ASSERT_TRUE(module.row_at(9, &row));
  EXPECT_EQ(row.address_offset, 8);
  EXPECT_EQ(row.where[kReturn], Where::kSaved);
  ASSERT_TRUE(module.row_at(13, &row));
  EXPECT_EQ(row.where[kReturn], Where::kUndefined);
  ASSERT_TRUE(module.row_at(17, &row));
  EXPECT_EQ(row.where[kReturn], Where::kSaved);
}

TEST(UnwindTable, KnowsSignalFrames) {
  const Module module("zRS", kAtCall, {});
  MappedRange range = module.range();
  FrameDescription description;
  ASSERT_TRUE(find_description(range, module.start(), module.function(), &description));
  EXPECT_TRUE(description.is_signal_frame);
}

struct Nonsense {
  const char* name;
  Bytes program;
};
void PrintTo(const Nonsense& nonsense, std::ostream* out) { *out << nonsense.name; }

class Refused : public testing::TestWithParam<Nonsense> {};
TEST_P(Refused, WhatMakesNoSense) {
  const Module module("zR", kAtCall, GetParam().program);
  FrameRow row;
  EXPECT_FALSE(module.row_at(200, &row));
}
INSTANTIATE_TEST_SUITE_P(
    Programs, Refused,
    testing::Values(
        Nonsense{"not_known", {0x3f}}, Nonsense{"nothing_remembered", {0x0b}},
        Nonsense{"remembered_too_deep", {0x0a, 0x0a, 0x0a, 0x0a}},
        Nonsense{"expression_longer_than_all", {0x0f, 0xff, 0xff, 0xff, 0x7f}},
        Nonsense{"no_such_register", {0x0d, 99}},
        Nonsense{"number_without_end",
                 {0x0c, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80}}),
    [](const auto& nonsense) { return std::string(nonsense.param.name); });

// The value of an expression of these bytes.
bool value_of(const Bytes& expression, const Registers& registers, uintptr_t* out) {
  Bytes sized = {static_cast<uint8_t>(expression.size())};
  sized.insert(sized.end(), expression.begin(), expression.end());
  const auto at = reinterpret_cast<uintptr_t>(sized.data());
  MappedRange range(at, at + sized.size());
  ThreadStack stack;
  const uintptr_t first = 1000;
  return stack.enter(registers.stack()) && evaluate(range, at, registers, stack, &first, out);
}

TEST(FrameExpression, Computes) {
  uintptr_t memory[4] = {11, 22, 33, 44};
  Registers registers{};
  registers.set(kStackRegister, reinterpret_cast<uintptr_t>(memory));
  uintptr_t out = 0;
  ASSERT_TRUE(value_of({0x23, 24}, registers, &out));  // 1000 + 24
  EXPECT_EQ(out, 1024u);
  ASSERT_TRUE(value_of({static_cast<uint8_t>(0x70 + kStackRegister), 16, 0x06}, registers, &out));
  EXPECT_EQ(out, 33u);
  ASSERT_TRUE(value_of({0x35, 0x33, 0x1c, 0x34, 0x1e}, registers, &out));  // (5 - 3) * 4
  EXPECT_EQ(out, 8u);
  // That of a procedure linkage table: stack pointer + 8 + (place in the entry >= 11) * 8.
  ASSERT_TRUE(value_of({0x3f, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22}, registers, &out));
  EXPECT_EQ(out, 1008u);
}

TEST(FrameExpression, RefusesWhatItCannotKnow) {
  Registers registers{};
  uintptr_t memory[4] = {};
  registers.set(kStackRegister, reinterpret_cast<uintptr_t>(memory));
  uintptr_t out = 0;
  EXPECT_FALSE(value_of({0x70, 0}, registers, &out));        // a register that is not known
  EXPECT_FALSE(value_of({0x13, 0x22}, registers, &out));     // nothing to add
  EXPECT_FALSE(value_of({0x30, 0x06}, registers, &out));     // what lies at 0
  EXPECT_FALSE(value_of({0xff}, registers, &out));           // not known
  EXPECT_FALSE(value_of(Bytes(40, 0x31), registers, &out));  // too deep
  EXPECT_FALSE(value_of({0x08}, registers, &out));           // ends too early
}

// The segment with this program's tables, copied: distances in it stay right.
class OwnTables : public testing::Test {
 protected:
  void SetUp() override {
    find_objects_with(ObjectSource::kNewest);
    ASSERT_TRUE(find_object(reinterpret_cast<uintptr_t>(&read_row), &object_));
    ProgramHeaders headers;
    ASSERT_TRUE(read_program_headers(object_.start, object_.end, nullptr, &headers));
    for (size_t i = 0; i < headers.count; ++i) {
      const Elf64_Phdr& entry = headers.entries[i];
      start_ = object_.bias + entry.p_vaddr;
      size_ = entry.p_memsz;
      if (entry.p_type == PT_LOAD && object_.eh_header - start_ < size_) return;
    }
    FAIL();
  }
  Bytes copy() const {
    Bytes bytes(size_);  // by the kernel: a sanitizer's variables lie there, too
    EXPECT_TRUE(sys::copy_bytes(reinterpret_cast<const void*>(start_), bytes.data(), size_));
    return bytes;
  }
  bool row_of(const Bytes& tables, uintptr_t address, FrameRow* out,
              FrameDescription* description) const {
    const auto at = reinterpret_cast<uintptr_t>(tables.data());
    const uintptr_t moved = at - start_;
    MappedRange module(at, at + tables.size());
    return find_description(module, object_.eh_header + moved, address + moved, description) &&
           read_row(module, *description, address + moved, out);
  }
  uintptr_t size_of_header() const { return object_.eh_header - start_; }

  LoadedObject object_{};
  uintptr_t start_ = 0;
  size_t size_ = 0;
};

TEST_F(OwnTables, AreReadAtAnyPlace) {
  const Bytes tables = copy();
  FrameRow row;
  FrameDescription description;
  EXPECT_TRUE(row_of(tables, reinterpret_cast<uintptr_t>(&read_row), &row, &description));
  EXPECT_EQ(row.address_register, kStackRegister);
}

TEST_F(OwnTables, DamagedInAnyWayAreSurvived) {
  std::mt19937 random(7);
  const Bytes whole = copy();
  Bytes damaged = whole;
  ThreadStack stack;
  Registers registers{};
  uintptr_t memory[64] = {};
  for (unsigned i = 0; i < kRegisters; ++i) registers.set(i, reinterpret_cast<uintptr_t>(memory));
  ASSERT_TRUE(stack.enter(registers.stack()));
  const uintptr_t header = size_of_header();
  int read = 0;
  for (int round = 0; round < 20'000; ++round) {
    // Half of them near the header and its table, where one byte changes most.
    std::vector<size_t> changed;
    for (int k = 0; k < 40; ++k) {
      const size_t in_table = header + random() % 64;
      const size_t at =
          k % 8 == 0 && round % 2 == 0 ? in_table : header + random() % (size_ - header);
      damaged[at] = static_cast<uint8_t>(random());
      changed.push_back(at);
    }
    FrameRow row;
    FrameDescription description;
    const uintptr_t address = reinterpret_cast<uintptr_t>(&read_row) + random() % 100'000;
    if (row_of(damaged, address, &row, &description)) {
      ++read;
      const auto at = reinterpret_cast<uintptr_t>(damaged.data());
      MappedRange module(at, at + damaged.size());
      uintptr_t out;
      if (row.address_by_expression) {
        (void)evaluate(module, row.address_expression, registers, stack, nullptr, &out);
      }
    }
    for (const size_t at : changed) damaged[at] = whole[at];
  }
  EXPECT_GT(read, 0);
}

TEST_F(OwnTables, CutOffTheyEnd) {
  const Bytes whole = copy();
  for (size_t kept = 0; kept < size_; kept += 1 + size_ / 500) {
    const Bytes tables(whole.begin(), whole.begin() + static_cast<long>(kept));
    FrameRow row;
    FrameDescription description;
    (void)row_of(tables, reinterpret_cast<uintptr_t>(&read_row), &row, &description);
  }
}

}  // namespace
}  // namespace oomguard::trace
