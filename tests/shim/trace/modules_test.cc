#include "shim/trace/modules.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "shim/trace/loaded_object.h"

namespace oomguard::trace::modules {
namespace {

constexpr uint32_t kCapacity = 8;

// The sections of a flight file that modules need.
record::ModuleRecord g_records[kCapacity];
std::atomic<uint32_t> g_used;
std::atomic<uint32_t> g_dropped;
std::vector<std::string>* g_strings;

uint32_t string_id(const char* text) noexcept {
  for (size_t i = 0; i < g_strings->size(); ++i) {
    if ((*g_strings)[i] == text) return static_cast<uint32_t>(i);
  }
  g_strings->push_back(text);
  return static_cast<uint32_t>(g_strings->size() - 1);
}

class Modules : public testing::TestWithParam<ObjectSource> {
 protected:
  void SetUp() override {
    find_objects_with(GetParam());
    strings_ = {""};
    g_strings = &strings_;
    begin(kCapacity);
  }
  void TearDown() override {
    record_into({});
    find_objects_with(ObjectSource::kNewest);
  }
  void begin(uint32_t capacity) {
    for (record::ModuleRecord& record : g_records) {
      memset(static_cast<void*>(&record), 0, sizeof record);
    }
    g_used = g_dropped = 0;
    record_into({g_records, capacity, &g_used, &g_dropped, string_id});
  }
  const record::ModuleRecord& record(const Place& place) const {
    return g_records[place.module - 1];
  }
  const std::string& path(const Place& place) const { return strings_[record(place).path]; }

  std::vector<std::string> strings_;
};

uintptr_t here() { return reinterpret_cast<uintptr_t>(__builtin_return_address(0)); }

TEST_P(Modules, TheProgramItself) {
  const uintptr_t address = here();
  const Place place = locate(address);
  ASSERT_EQ(place.module, 1u);
  EXPECT_EQ(path(place), std::filesystem::read_symlink("/proc/self/exe"));
  EXPECT_EQ(record(place).state.load(), 1u);
  EXPECT_EQ(record(place).bias, _r_debug.r_map->l_addr);
  EXPECT_EQ(place.offset, address - _r_debug.r_map->l_addr);
  EXPECT_LT(record(place).start, address);
  EXPECT_GT(record(place).end, address);
}

TEST_P(Modules, ALibraryWithItsBuildId) {
  const auto address = reinterpret_cast<uintptr_t>(dlsym(RTLD_DEFAULT, "qsort"));
  const Place place = locate(address + 1);
  ASSERT_NE(place.module, 0u);
  Dl_info info{};
  ASSERT_NE(dladdr(reinterpret_cast<void*>(address), &info), 0);
  EXPECT_TRUE(std::filesystem::equivalent(path(place), info.dli_fname)) << path(place);
  EXPECT_EQ(place.offset, address + 1 - reinterpret_cast<uintptr_t>(info.dli_fbase));
  // Distributions' libc has one, of SHA-1's size.
  EXPECT_EQ(record(place).build_id_bytes, 20u);
}

TEST_P(Modules, IsWrittenOnce) {
  const Place first = locate(here());
  const Place again = locate(reinterpret_cast<uintptr_t>(&string_id) + 1);
  EXPECT_EQ(first.module, again.module);
  EXPECT_EQ(g_used.load(), 1u);
}

TEST_P(Modules, CodeThatLiesInNone) {
  const Place place = locate(reinterpret_cast<uintptr_t>(&strings_));
  EXPECT_EQ(place.module, 0u);
  EXPECT_EQ(place.offset, reinterpret_cast<uintptr_t>(&strings_));
  EXPECT_EQ(locate(1).module, 0u);
  EXPECT_EQ(locate(0).module, 0u);
  EXPECT_EQ(g_used.load(), 0u);
}

TEST_P(Modules, WithoutRoomTheAddressIsAllThatIsSaid) {
  begin(1);
  EXPECT_EQ(locate(here()).module, 1u);
  const auto elsewhere = reinterpret_cast<uintptr_t>(dlsym(RTLD_DEFAULT, "qsort")) + 1;
  EXPECT_EQ(locate(elsewhere).module, 0u);
  EXPECT_EQ(locate(elsewhere).offset, elsewhere);
  EXPECT_GE(g_dropped.load(), 1u);
  EXPECT_EQ(g_used.load(), 1u);
}

TEST_P(Modules, AfterAForkTheyAreWrittenAnew) {
  EXPECT_EQ(locate(here()).module, 1u);
  begin(kCapacity);
  EXPECT_EQ(g_used.load(), 0u);
  EXPECT_EQ(locate(here()).module, 1u);
  EXPECT_EQ(g_used.load(), 1u);
}

// The older libc's way sees a change at the same place only after a second.
INSTANTIATE_TEST_SUITE_P(OfBothSources, Modules,
                         testing::Values(ObjectSource::kNewest, ObjectSource::kOwnTable),
                         [](const auto& source) {
                           return source.param == ObjectSource::kNewest ? "newest" : "own_table";
                         });

class ModulesComeAndGo : public Modules {};

uintptr_t address_in(void* library) {
  return reinterpret_cast<uintptr_t>(dlsym(library, "plugin_call")) + 1;
}

TEST_P(ModulesComeAndGo, ATwinAtTheSamePlaceIsAnotherOne) {
  uint32_t numbers[2] = {};
  uintptr_t addresses[2] = {};
  for (int i = 0; i < 6; ++i) {
    void* library =
        dlopen(i % 2 == 0 ? OOMGUARD_PLUGIN_A : OOMGUARD_PLUGIN_B, RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(library, nullptr);
    addresses[i % 2] = address_in(library);
    const Place place = locate(addresses[i % 2]);
    ASSERT_NE(place.module, 0u);
    if (i >= 2) {
      EXPECT_EQ(place.module, numbers[i % 2]) << "loaded again, it is the same one";
    }
    numbers[i % 2] = place.module;
    EXPECT_EQ(path(place), i % 2 == 0 ? OOMGUARD_PLUGIN_A : OOMGUARD_PLUGIN_B);
    dlclose(library);
  }
  EXPECT_NE(numbers[0], numbers[1]);
  EXPECT_EQ(g_used.load(), 2u);
  if (addresses[0] != addresses[1]) GTEST_SKIP() << "the libraries lay at different places";
}

TEST_P(ModulesComeAndGo, ARelativePathBecomesAWholeOne) {
  const std::filesystem::path path_a = OOMGUARD_PLUGIN_A;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(path_a.parent_path());
  void* library = dlopen(("./" + path_a.filename().string()).c_str(), RTLD_NOW | RTLD_LOCAL);
  std::filesystem::current_path(before);
  ASSERT_NE(library, nullptr) << dlerror();
  EXPECT_EQ(path(locate(address_in(library))), path_a);
  dlclose(library);
}

INSTANTIATE_TEST_SUITE_P(OfTheDynamicLinker, ModulesComeAndGo,
                         testing::Values(ObjectSource::kNewest),
                         [](const auto&) { return "newest"; });

}  // namespace
}  // namespace oomguard::trace::modules
