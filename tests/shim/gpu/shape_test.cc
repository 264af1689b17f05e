#include "shim/gpu/shape.h"

#include <gtest/gtest.h>

namespace oomguard::gpu {
namespace {

constexpr int kFloat = 0x20;
constexpr int kHalf = 0x10;

TEST(GpuShape, AnArrayIsItsElements) {
  const CUarrayDescriptor plain{100, 50, kFloat, 4};
  EXPECT_EQ(size_of(&plain), 100 * 50 * 16);
  const CUarrayDescriptor line{100, 0, kHalf, 1};
  EXPECT_EQ(size_of(&line), 200);
  EXPECT_EQ(size_of(static_cast<const CUarrayDescriptor*>(nullptr)), 0);
}

TEST(GpuShape, LevelsOfAMipmapAreHalvedToOne) {
  const CUarray3DDescriptor shape{8, 4, 0, kFloat, 1, 0};
  EXPECT_EQ(size_of(&shape, 4), 4 * (32 + 8 + 2 + 1));
}

TEST(GpuShape, CompressedFormatsHaveTheirOwnChannels) {
  const CUarray3DDescriptor bc1{64, 64, 0, 0x91, 4, 0};
  const CUarray3DDescriptor bc7{64, 64, 0, 0x9d, 4, 0};
  const CUarray3DDescriptor norm16x4{64, 64, 0, 0xc5, 4, 0};
  EXPECT_EQ(size_of(&bc1, 1), 64 * 64 / 2);
  EXPECT_EQ(size_of(&bc7, 1), 64 * 64);
  EXPECT_EQ(size_of(&norm16x4, 1), 64 * 64 * 8);
}

TEST(GpuShape, WhatIsMappedLaterTakesNothing) {
  const CUarray3DDescriptor sparse{64, 64, 64, kFloat, 1, kArraySparse};
  const CUarray3DDescriptor deferred{64, 64, 64, kFloat, 1, kArrayDeferred};
  EXPECT_EQ(size_of(&sparse, 1), 0);
  EXPECT_EQ(size_of(&deferred, 1), 0);
}

TEST(GpuShape, NonsenseDoesNotOverflow) {
  const CUarray3DDescriptor huge{SIZE_MAX, SIZE_MAX, SIZE_MAX, kFloat, UINT32_MAX, 0};
  EXPECT_EQ(size_of(&huge, UINT32_MAX), int64_t{1} << 60);
}

}  // namespace
}  // namespace oomguard::gpu
