#include "shim/core/model_files.h"

#include <gtest/gtest.h>

#include "collector/probe/checkpoint_name.h"
#include "collector/record/reader.h"
#include "shim/core/session.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::model_files {
namespace {

using budget::kMiB;
using test::expect_in_child;
using test::Folder;

std::string make_file(const Folder& folder, const char* name, int64_t size) {
  const std::string path = folder / name;
  test::write_file(path, "");
  EXPECT_EQ(truncate(path.c_str(), size), 0);
  return path;
}

int open_file(const std::string& path) { return open(path.c_str(), O_RDONLY | O_CLOEXEC); }

std::vector<record::ModelFile> recorded() {
  const Result<record::Flight> flight = record::read_flight(session::path());
  if (!flight) {
    ADD_FAILURE() << flight.error().message;
    return {};
  }
  return (*flight).model_files();
}

TEST(ModelFilesTest, OpenAndMappedCheckpointsAreRecordedOnce) {
  expect_in_child([] {
    const Folder folder;
    session::start(folder.path().c_str(), 600 * kMiB, 0, 0, "");
    const std::string mapped = make_file(folder, "model-00001.safetensors", 8 * kMiB);
    const std::string opened = make_file(folder, "weights.pth", 3 * kMiB);
    const int fd = open_file(mapped);
    void* at = mmap(nullptr, 8 * kMiB, PROT_READ, MAP_PRIVATE, fd, 0);
    ASSERT_NE(at, MAP_FAILED);
    close(fd);
    open_file(opened);
    open_file(make_file(folder, "small.pt", 1000));
    open_file(make_file(folder, "data.txt", 9 * kMiB));
    look(5'000'000'000);
    look(6'000'000'000);
    const auto files = recorded();
    ASSERT_EQ(files.size(), 2u);
    EXPECT_EQ(files[0].path, mapped);
    EXPECT_EQ(files[0].size_bytes, 8 * kMiB);
    EXPECT_EQ(files[0].mapped_bytes, 8 * kMiB);
    EXPECT_EQ(files[0].seen_monotonic_ns, 6'000'000'000);
    EXPECT_EQ(files[1].path, opened);
    EXPECT_EQ(files[1].mapped_bytes, 0);
    munmap(at, 8 * kMiB);
    look(7'000'000'000);
    EXPECT_EQ(recorded()[0].seen_monotonic_ns, 6'000'000'000) << "it is still named, and when";
  });
}

TEST(ModelFilesTest, LooksSeldom) {
  expect_in_child([] {
    const Folder folder;
    session::start(folder.path().c_str(), 600 * kMiB, 0, 0, "");
    open_file(make_file(folder, "weights.gguf", 3 * kMiB));
    const int64_t now_ns = budget::program_now_ns();
    look_if_due(now_ns);
    EXPECT_TRUE(recorded().empty()) << "not when it is asked first";
    look_if_due(now_ns + 1'000'000'000);
    EXPECT_TRUE(recorded().empty());
    look_if_due(now_ns + 3'000'000'000);
    EXPECT_EQ(recorded().size(), 1u);
  });
}

TEST(ModelFilesTest, WithoutAFlightFileNothingIsLookedAt) {
  expect_in_child([] {
    look(1);
    on_fork_child();
    look_if_due(1);
  });
}

TEST(CheckpointName, IsAnEndingOrABlobOfTheHubsCache) {
  const std::string hash(64, 'a');
  EXPECT_TRUE(probe::is_checkpoint_name("/m/model.safetensors"));
  EXPECT_TRUE(probe::is_checkpoint_name(("/hub/models--a--b/blobs/" + hash).c_str()));
  EXPECT_FALSE(probe::is_checkpoint_name(("/hub/datasets--a--b/blobs/" + hash).c_str()));
  EXPECT_FALSE(probe::is_checkpoint_name(("/hub/models--a--b/blobs/" + hash.substr(1)).c_str()));
  EXPECT_FALSE(probe::is_checkpoint_name(("/hub/models--a--b/blobs/" + hash.substr(1) + "x").c_str()));
  EXPECT_FALSE(probe::is_checkpoint_name(""));
}

}  // namespace
}  // namespace oomguard::model_files
