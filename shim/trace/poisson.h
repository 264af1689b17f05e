// The arithmetic of sampling by bytes: how far it is to the next sample, and what a sampled block
// stands for. Every byte that is asked for is a sample with the same chance, 1 in `mean`; a block
// is one if any of its bytes is. So a block of s bytes is chosen with p = 1 - exp(-s / mean), and s
// / p bytes for each chosen one give the true sum on average, whatever the sizes are (TCMalloc's
// and heapprofd's way).
//
// Pure functions without libm, which the library does not link. Callable from a hook: yes.
#pragma once

#include <bit>
#include <cstdint>

namespace oomguard::trace {

// Natural logarithm of a number above 0; error below 1e-9.
constexpr double log_of(double x) {
  const auto bits = __builtin_bit_cast(uint64_t, x);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  double mantissa = __builtin_bit_cast(double, (bits & 0xfffffffffffffull) | 0x3ff0000000000000ull);
  if (mantissa > 1.4142135623730951) {
    mantissa /= 2;
    ++exponent;
  }
  const double s = (mantissa - 1) / (mantissa + 1);  // at most 0.172: ln m = 2 atanh(s)
  const double q = s * s;
  const double series = 2 * s * (1 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9)))));
  return exponent * 0.6931471805599453 + series;
}

// 1 - exp(-y) for y >= 0; relative error below 1e-9.
constexpr double chance_of(double y) {
  if (y > 40) return 1;
  int halvings = 0;
  double x = y;
  for (; x > 0.125; x /= 2) ++halvings;
  double p = 0;  // 1 - exp(-x) by its series, then 1 - (1 - p)^2 for each halving
  double term = x;
  for (int n = 2; n < 10; ++n) {
    p += term;
    term *= -x / n;
  }
  for (; halvings > 0; --halvings) p = p * (2 - p);
  return p;
}

// xorshift64*: `state` must not be 0.
constexpr uint64_t next_random(uint64_t* state) {
  uint64_t x = *state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  *state = x;
  return x * 0x2545F4914F6CDD1Dull;
}

// Bytes to the next sample: exponentially distributed.
constexpr uint64_t draw_distance(uint64_t mean_bytes, uint64_t* state) {
  // In (0, 1).
  const double uniform = (static_cast<double>(next_random(state) >> 11) + 0.5) * 0x1p-53;
  return static_cast<uint64_t>(-log_of(uniform) * static_cast<double>(mean_bytes)) + 1;
}

// Bytes that a chosen block of `size` stands for.
constexpr int64_t weight_of(uint64_t size, uint64_t mean_bytes) {
  if (size == 0) return 0;
  const double bytes = static_cast<double>(size);
  return static_cast<int64_t>(bytes / chance_of(bytes / static_cast<double>(mean_bytes)) + 0.5);
}

// How many blocks a chosen one of `size` stands for, rounded up or down by chance: 2.4 is 2 in six
// of ten.
constexpr uint32_t blocks_of(uint64_t size, int64_t weight, uint64_t random) {
  if (size == 0) return 1;
  const auto bytes = static_cast<uint64_t>(weight);
  return static_cast<uint32_t>(bytes / size + (random % size < bytes % size ? 1 : 0));
}

}  // namespace oomguard::trace
