#include "collector/symbolize/symbolizer.h"

#include <dlfcn.h>
#include <elf.h>
#include <gtest/gtest.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/collector/symbolize/sample.h"

#if defined(__SANITIZE_ADDRESS__)
// libdw keeps some bytes of a damaged file.
extern "C" const char* __lsan_default_suppressions() { return "leak:libdw\n"; }
#endif

namespace oomguard::symbolize {
namespace {

using BuildId = std::vector<uint8_t>;

// Where the callback returns to, as an address of the library's file.
struct Seen {
  uintptr_t offset = 0;
  uintptr_t bias = 0;
};
[[gnu::noinline]] void see(void* data) {
  auto* seen = static_cast<Seen*>(data);
  seen->offset = reinterpret_cast<uintptr_t>(__builtin_return_address(0)) - seen->bias;
}

class Symbols : public testing::Test {
 protected:
  void SetUp() override {
    if (!is_available()) GTEST_SKIP() << "built without libdw";
    library_ = dlopen(OOMGUARD_SAMPLE, RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(library_, nullptr) << dlerror();
    bias_ = static_cast<const link_map*>(library_)->l_addr;
    lines_ = function<sample::Lines (*)()>("_ZN6sample5linesEv")();
    read_build_id();
  }
  void TearDown() override {
    if (library_ != nullptr) dlclose(library_);
  }
  template <typename Function>
  Function function(const char* name) const {
    return reinterpret_cast<Function>(dlsym(library_, name));
  }
  using Caller = int (*)(int, sample::Callback, void*);
  uintptr_t offset_in(const char* name) const {
    Seen seen;
    seen.bias = bias_;
    function<Caller>(name)(1, see, &seen);
    return seen.offset;
  }
  uintptr_t in_outer() const { return offset_in("_ZN6sample5outerEiPFvPvES0_"); }
  uintptr_t in_hidden() const { return offset_in("_ZN6sample14through_hiddenEiPFvPvES0_"); }

  void read_build_id() {
    std::ifstream file(OOMGUARD_SAMPLE, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    const std::string note("\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0", 16);
    const size_t at = bytes.find(note);
    ASSERT_NE(at, std::string::npos);
    build_id_.assign(bytes.begin() + static_cast<long>(at + 16),
                     bytes.begin() + static_cast<long>(at + 36));
  }

  void* library_ = nullptr;
  uintptr_t bias_ = 0;
  sample::Lines lines_{};
  BuildId build_id_;
  Symbolizer symbolizer_;
};

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

TEST_F(Symbols, NamesInlinedFunctionsAndTheirLines) {
  const std::vector<SourceFrame> frames = symbolizer_.at(OOMGUARD_SAMPLE, build_id_, in_outer());
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(frames[0].function, "sample::(anonymous namespace)::inner");
  EXPECT_TRUE(frames[0].inlined);
  EXPECT_EQ(frames[0].line, lines_.inner);
  EXPECT_EQ(frames[1].function, "sample::(anonymous namespace)::Holder<int>::middle");
  EXPECT_TRUE(frames[1].inlined);
  EXPECT_EQ(frames[1].line, lines_.middle);
  EXPECT_EQ(frames[2].function, "sample::outer(int, void (*)(void*), void*)");
  EXPECT_FALSE(frames[2].inlined);
  EXPECT_EQ(frames[2].line, lines_.outer);
  for (const SourceFrame& frame : frames)
    EXPECT_TRUE(ends_with(frame.file, "/sample.cc")) << frame.file;
}

TEST_F(Symbols, FindsDebugInformationThatLiesBesideTheFile) {
  const std::vector<SourceFrame> frames =
      symbolizer_.at(OOMGUARD_SAMPLE_LINKED, build_id_, in_outer());
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(frames[0].line, lines_.inner);
}

TEST_F(Symbols, OfAStrippedFileNamesOnlyWhatItExports) {
  const std::vector<SourceFrame> exported =
      symbolizer_.at(OOMGUARD_SAMPLE_STRIPPED, build_id_, in_outer());
  ASSERT_EQ(exported.size(), 1u);
  EXPECT_EQ(exported[0].function, "sample::outer(int, void (*)(void*), void*)");
  EXPECT_EQ(exported[0].file, "");
  EXPECT_EQ(exported[0].line, 0);
  EXPECT_TRUE(symbolizer_.at(OOMGUARD_SAMPLE_STRIPPED, build_id_, in_hidden()).empty());
}

TEST_F(Symbols, AnotherBuildsFileSaysNothing) {
  BuildId other = build_id_;
  other[3] ^= 1;
  EXPECT_TRUE(symbolizer_.at(OOMGUARD_SAMPLE, other, in_outer()).empty());
  EXPECT_TRUE(symbolizer_.at(OOMGUARD_SAMPLE, {}, in_outer()).empty());
  EXPECT_TRUE(symbolizer_.at(OOMGUARD_SAMPLE, BuildId{build_id_[0]}, in_outer()).empty());
  EXPECT_EQ(symbolizer_.at(OOMGUARD_SAMPLE, build_id_, in_outer()).size(), 3u);
}

TEST_F(Symbols, AddressesOutsideSayNothing) {
  for (const uint64_t offset : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 40, UINT64_MAX}) {
    EXPECT_TRUE(symbolizer_.at(OOMGUARD_SAMPLE, build_id_, offset).empty()) << offset;
  }
}

class Folder {
 public:
  Folder()
      : path_(std::filesystem::temp_directory_path() /
              ("oomguard-symbols-" + std::to_string(getpid()))) {
    std::filesystem::create_directory(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

TEST_F(Symbols, WhatIsNoFileSaysNothing) {
  const Folder folder;
  const std::string pipe = folder / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const std::string empty = folder / "empty";
  std::ofstream(empty).close();
  for (const std::string& path : {std::string("/nonexistent"), std::string(""),
                                  std::string("/dev/zero"), folder / "", pipe, empty}) {
    EXPECT_TRUE(symbolizer_.at(path, build_id_, in_outer()).empty()) << path;
  }
}

TEST_F(Symbols, DamagedFilesAreSurvived) {
  std::ifstream file(OOMGUARD_SAMPLE, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(file)), {});
  const Folder folder;
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    std::string damaged = whole;
    if (round % 10 == 9) damaged.resize(random() % damaged.size());
    for (int k = 0; k < 1 + round % 20 && !damaged.empty(); ++k) {
      damaged[random() % damaged.size()] = static_cast<char>(random());
    }
    const std::string path = folder / std::to_string(round);
    std::ofstream(path, std::ios::binary) << damaged;
    Symbolizer fresh;
    (void)fresh.at(path, build_id_, in_outer());
    (void)fresh.at(path, build_id_, in_hidden());
    std::filesystem::remove(path);
  }
}

TEST_F(Symbols, NobodyIsAskedOnTheNetwork) {
  setenv("DEBUGINFOD_URLS", "http://192.0.2.1/", 1);
  const Symbolizer another;
  EXPECT_EQ(getenv("DEBUGINFOD_URLS"), nullptr);
}

}  // namespace
}  // namespace oomguard::symbolize
