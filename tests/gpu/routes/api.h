// The driver's functions as one route gives them: a table of addresses, with their types.
#ifndef OOMGUARD_TESTS_GPU_ROUTES_API_H
#define OOMGUARD_TESTS_GPU_ROUTES_API_H

#define __CUDA_API_VERSION_INTERNAL  // every form of every function
#include <cuda.h>

#include <array>
#include <cstdint>
#include <string>

#include "tests/gpu/fake/function_id.h"

namespace routes {

using fake::Id;
inline constexpr int kCount = static_cast<int>(Id::kCount);

struct Form {
  const char* base;
  int version;
  bool per_thread;
  const char* symbol;
};
extern const std::array<Form, kCount> kForms;

struct Api {
  std::array<void*, kCount> at{};
  void* driver = nullptr;  // a handle, for what tests ask the fake
};

// Fills the table by a route, or says on stderr why it cannot, and ends the process.
Api take_route(const std::string& route);

// A function of the fake itself (tests/gpu/fake/fake_cuda.h).
void* fake_function(const Api& api, const char* name);

}  // namespace routes

#define CALL(api, symbol) \
  reinterpret_cast<decltype(&symbol)>((api).at[static_cast<int>(routes::Id::symbol)])
#define FAKE(api, name) reinterpret_cast<decltype(&name)>(routes::fake_function(api, #name))

#endif  // OOMGUARD_TESTS_GPU_ROUTES_API_H
