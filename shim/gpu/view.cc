// Hooks of what programs that size themselves ask: they see what they may use (--view).
#include "shim/gpu/budget.h"
#include "shim/gpu/driver.h"

namespace oomguard::gpu {

CUresult oomguard_gpu_cuMemGetInfo_v2(size_t* free, size_t* total) noexcept {
  const CUresult status = driver.cuMemGetInfo_v2(free, total);
  if (status == kSuccess) limit_view(current_card(), free, total);
  return status;
}

CUresult oomguard_gpu_cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) noexcept {
  const CUresult status = driver.cuDeviceTotalMem_v2(bytes, device);
  if (status == kSuccess) limit_view(device, nullptr, bytes);
  return status;
}

}  // namespace oomguard::gpu
