// The hooks on the fake driver: a card of 1 GiB, a context on it, and a budget of 512 MiB.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "shim/core/session.h"
#include "shim/gpu/budget.h"
#include "shim/gpu/driver.h"
#include "shim/gpu/ledger.h"
#include "tests/gpu/fake/fake_cuda.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::gpu::test {

constexpr Bytes kMiB = 1 << 20;

class Card {
 public:
  // `budget`: of every card; 0 for auto.
  explicit Card(Bytes budget = 512 * kMiB, const char* cards = "1G") {
    setenv("FAKE_CUDA_DEVICES", cards, 1);
    library_ = dlopen(OOMGUARD_FAKE_CUDA, RTLD_NOW);
    options::Values values;
    if (budget != 0) {
      values.gpu_budgets[0].bytes = budget;
      values.gpu_budget_count = 1;
    }
    oomguard::test::guard(values);
    call<int(unsigned)>("cuInit")(0);
    EXPECT_EQ(oomguard_gpu_cuDevicePrimaryCtxRetain(&context, 0), kSuccess);
    make_current(context);
  }

  template <typename Function>
  Function* call(const char* name) const {
    return reinterpret_cast<Function*>(dlsym(library_, name));
  }
  void make_current(CUcontext which) const {
    EXPECT_EQ(call<CUresult(CUcontext)>("cuCtxSetCurrent")(which), kSuccess);
  }
  // What the fake's card holds without contexts.
  Bytes arena(int card = 0) const {
    return static_cast<Bytes>(call<uint64_t(int, int)>("fake_cuda_held")(card, -1));
  }
  Bytes peak(int card = 0) const {
    return static_cast<Bytes>(call<uint64_t(int)>("fake_cuda_peak")(card));
  }
  // From the (skip + 1)-th call on the next one fails.
  void fail(const char* symbol, CUresult status, uint64_t skip = 0) const {
    call<void(const char*, uint64_t, uint64_t, int)>("fake_cuda_fail")(symbol, skip, 1, status);
  }

  CUcontext context = nullptr;

 private:
  void* library_ = nullptr;
};

inline CUresult allocate(Bytes size, CUdeviceptr* out) {
  return oomguard_gpu_cuMemAlloc_v2(out, static_cast<size_t>(size));
}
inline CUresult allocate(Bytes size) {
  CUdeviceptr address = 0;
  return allocate(size, &address);
}

inline uint64_t refusals() { return session::file()->header.refusals; }

}  // namespace oomguard::gpu::test
