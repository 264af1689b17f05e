#include "shim/trace/loaded_object.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "shim/trace/native_stack.h"
#include "shim/trace/object_table.h"
#include "tests/shim/trace/shapes.h"
#include "tests/shim/trace/stacks.h"

namespace oomguard::trace {
namespace {

class LoadedObjects : public testing::Test {
 protected:
  void SetUp() override { find_objects_with(ObjectSource::kNewest); }
  void TearDown() override { find_objects_with(ObjectSource::kNewest); }
};

struct Section {
  std::string name;
  uintptr_t eh_header;
  uintptr_t bias;
};
std::vector<Section> all_objects() {
  std::vector<Section> objects;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          if (info->dlpi_phdr[i].p_type != PT_GNU_EH_FRAME) continue;
          static_cast<std::vector<Section>*>(data)->push_back(
              {info->dlpi_name, info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, info->dlpi_addr});
        }
        return 0;
      },
      &objects);
  return objects;
}

void expect_all_found() {
  const std::vector<Section> objects = all_objects();
  EXPECT_GE(objects.size(), 4u);
  for (const Section& object : objects) {
    LoadedObject found{};
    ASSERT_TRUE(find_object(object.eh_header, &found)) << object.name;
    EXPECT_EQ(found.eh_header, object.eh_header) << object.name;
    EXPECT_EQ(found.bias, object.bias) << object.name;
    EXPECT_TRUE(found.contains(object.eh_header));
  }
}

TEST_F(LoadedObjects, AreFoundByTheDynamicLinker) { expect_all_found(); }

TEST_F(LoadedObjects, AreFoundInTheTableOfOurOwn) {
  find_objects_with(ObjectSource::kOwnTable);
  expect_all_found();
}

TEST_F(LoadedObjects, WhatIsNotCodeLiesInNone) {
  for (const ObjectSource source : {ObjectSource::kNewest, ObjectSource::kOwnTable}) {
    find_objects_with(source);
    LoadedObject found{};
    int on_stack = 0;
    EXPECT_FALSE(find_object(reinterpret_cast<uintptr_t>(&on_stack), &found));
    EXPECT_FALSE(find_object(0, &found));
    EXPECT_FALSE(find_object(UINTPTR_MAX, &found));
  }
}

TEST_F(LoadedObjects, StacksAreTheSameFromTheTableOfOurOwn) {
  prepare_native_stacks(OwnFrames::kShow);
  find_objects_with(ObjectSource::kOwnTable);
  test::Seen seen;
  shape_from_libc(test::look_at, &seen);
  test::expect_as_others(seen, 6);
}

TEST_F(LoadedObjects, AForkedChildUsesTheTable) {
  find_objects_with(ObjectSource::kOwnTable);
  LoadedObject found{};
  forget_object_table_users();
  EXPECT_TRUE(find_object(reinterpret_cast<uintptr_t>(&all_objects), &found));
}

TEST_F(LoadedObjects, APathThatDoesNotFitIsNone) {
  char path[512];
  const auto address = reinterpret_cast<uintptr_t>(&all_objects);
  ASSERT_TRUE(mapped_path(address, path, sizeof path));
  char small[8];
  EXPECT_FALSE(mapped_path(address, small, sizeof small));
  EXPECT_FALSE(mapped_path(reinterpret_cast<uintptr_t>(small), path, sizeof path));  // the stack
}

}  // namespace
}  // namespace oomguard::trace
