// The driver's own lookup: what it answers stands, with the hook's address in place of the
// function's. The driver chose the version and the flavour, so the hook is the right one.
#include "shim/budget/gate.h"
#include "shim/gpu/driver.h"

namespace oomguard::gpu {
namespace {

CUresult answer(CUresult status, void** function) noexcept {
  if (status == kSuccess && function != nullptr && *function != nullptr &&
      budget::gate.mode() != budget::Gate::Mode::kOff) {
    *function = hook_of(*function);
  }
  return status;
}

}  // namespace
CUresult oomguard_gpu_cuGetProcAddress(const char* name, void** function, int version,
                                  uint64_t flags) noexcept {
  return answer(driver.cuGetProcAddress(name, function, version, flags), function);
}

CUresult oomguard_gpu_cuGetProcAddress_v2(const char* name, void** function, int version,
                                     uint64_t flags, int* status) noexcept {
  return answer(driver.cuGetProcAddress_v2(name, function, version, flags, status),
                               function);
}

}  // namespace oomguard::gpu
