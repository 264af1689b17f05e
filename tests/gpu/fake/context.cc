// Start, devices, contexts, and the words of errors.
#include <cstdio>
#include <cstring>

#include "tests/gpu/fake/arena.h"

namespace fake {
namespace {

thread_local std::vector<Context*> stack;
struct Primary {
  Context* context = nullptr;
  int uses = 0;
};
std::map<CUdevice, Primary> primaries;

CUresult new_context(CUdevice device, bool primary, Context** made) {
  if (!ordinal_ok(device)) return CUDA_ERROR_INVALID_DEVICE;
  if (!take(device, FAKE_CUDA_CONTEXT, context_bytes())) return CUDA_ERROR_OUT_OF_MEMORY;
  *made = new Context{device, primary};
  return CUDA_SUCCESS;
}

CUresult create(CUcontext* out, CUdevice device) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Context* made = nullptr;
  if (const CUresult status = new_context(device, false, &made); status != CUDA_SUCCESS) {
    return status;
  }
  stack.push_back(made);
  *out = reinterpret_cast<CUcontext>(made);
  return CUDA_SUCCESS;
}

CUresult destroy(CUcontext context) {
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (current() == reinterpret_cast<Context*>(context)) stack.pop_back();
  const std::lock_guard lock(world().mutex);
  end_context(reinterpret_cast<Context*>(context));
  return CUDA_SUCCESS;
}

CUresult push(CUcontext context) {
  stack.push_back(reinterpret_cast<Context*>(context));
  return CUDA_SUCCESS;
}

CUresult pop(CUcontext* context) {
  if (current() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (context != nullptr) *context = reinterpret_cast<CUcontext>(stack.back());
  stack.pop_back();
  return CUDA_SUCCESS;
}

CUresult release(CUdevice device, bool reset) {
  if (!ordinal_ok(device)) return CUDA_ERROR_INVALID_DEVICE;
  const std::lock_guard lock(world().mutex);
  Primary& primary = primaries[device];
  if (primary.context == nullptr) return reset ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
  primary.uses = reset ? 0 : primary.uses - 1;
  if (primary.uses > 0) return CUDA_SUCCESS;
  end_context(primary.context);
  primary.context = nullptr;
  return CUDA_SUCCESS;
}

CUresult uuid(CUuuid* out, CUdevice device) {
  if (out == nullptr || !ordinal_ok(device)) return CUDA_ERROR_INVALID_VALUE;
  const std::string text = card_uuid(visible()[device]);
  size_t at = 4;
  for (char& byte : out->bytes) {
    if (text[at] == '-') ++at;
    unsigned value = 0;
    sscanf(text.c_str() + at, "%2x", &value);
    byte = static_cast<char>(value);
    at += 2;
  }
  return CUDA_SUCCESS;
}

}  // namespace

Context* current() { return stack.empty() ? nullptr : stack.back(); }

void end_context(Context* context) {
  World& w = world();
  for (auto i = w.blocks.begin(); i != w.blocks.end();) {
    const auto [address, block] = *i;
    if (block.context == context && block.kind <= FAKE_CUDA_ARRAY && !block.reserved_only) {
      if (!block.imported) give(block.device, block.kind, block.bytes);
      void* place = reinterpret_cast<void*>(address);
      if (block.kind == FAKE_CUDA_MANAGED) unmap_host(place, block.bytes);
      if (block.kind == FAKE_CUDA_DEVICE) drop_address(address, block.bytes);
      i = w.blocks.erase(i);
    } else {
      ++i;
    }
  }
  give(context->device, FAKE_CUDA_CONTEXT, context_bytes());
  context->device = -1;  // not freed: threads may still have it on their stacks
}

}  // namespace fake

using namespace fake;

extern "C" {

CUresult cuInit(unsigned) {
  FAKE_CUDA_ENTER(cuInit);
  return visible().empty() ? CUDA_ERROR_NO_DEVICE : CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int* version) {
  FAKE_CUDA_ENTER(cuDriverGetVersion);
  *version = driver_version();
  return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char** text) {
  FAKE_CUDA_ENTER(cuGetErrorString);
  *text = error == CUDA_SUCCESS              ? "no error"
          : error == CUDA_ERROR_OUT_OF_MEMORY ? "out of memory"
                                              : "an error of the fake driver";
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char** text) {
  FAKE_CUDA_ENTER(cuGetErrorName);
  *text = error == CUDA_SUCCESS              ? "CUDA_SUCCESS"
          : error == CUDA_ERROR_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY"
                                              : "CUDA_ERROR_OF_THE_FAKE";
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
  FAKE_CUDA_ENTER(cuDeviceGetCount);
  *count = static_cast<int>(visible().size());
  return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  FAKE_CUDA_ENTER(cuDeviceGet);
  if (!ordinal_ok(ordinal)) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  FAKE_CUDA_ENTER(cuDeviceGetName);
  if (!ordinal_ok(device)) return CUDA_ERROR_INVALID_DEVICE;
  snprintf(name, length, "Fake card %d", visible()[device]);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid* out, CUdevice device) {
  FAKE_CUDA_ENTER(cuDeviceGetUuid);
  return uuid(out, device);
}

CUresult cuDeviceGetUuid_v2(CUuuid* out, CUdevice device) {
  FAKE_CUDA_ENTER(cuDeviceGetUuid_v2);
  return uuid(out, device);
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  FAKE_CUDA_ENTER(cuDeviceGetAttribute);
  if (!ordinal_ok(device)) return CUDA_ERROR_INVALID_DEVICE;
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID: *value = visible()[device] + 1; break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: *value = 1; break;
    default: *value = 0;
  }
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char* bus, int length, CUdevice device) {
  FAKE_CUDA_ENTER(cuDeviceGetPCIBusId);
  if (!ordinal_ok(device)) return CUDA_ERROR_INVALID_DEVICE;
  snprintf(bus, length, "%s", card_bus(visible()[device]).c_str() + 4);
  return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  FAKE_CUDA_ENTER(cuDeviceTotalMem_v2);
  if (!ordinal_ok(device)) return CUDA_ERROR_INVALID_DEVICE;
  *bytes = cards().cards[visible()[device]].bytes;
  return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(unsigned* bytes, CUdevice device) {
  FAKE_CUDA_ENTER(cuDeviceTotalMem);
  if (!ordinal_ok(device)) return CUDA_ERROR_INVALID_DEVICE;
  *bytes = std::min<uint64_t>(cards().cards[visible()[device]].bytes, UINT32_MAX);
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* out, CUdevice device) {
  FAKE_CUDA_ENTER(cuDevicePrimaryCtxRetain);
  if (out == nullptr || !ordinal_ok(device)) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(world().mutex);
  Primary& primary = primaries[device];
  if (primary.context == nullptr) {
    const CUresult status = new_context(device, true, &primary.context);
    if (status != CUDA_SUCCESS) return status;
  }
  ++primary.uses;
  *out = reinterpret_cast<CUcontext>(primary.context);
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
  FAKE_CUDA_ENTER(cuDevicePrimaryCtxGetState);
  const std::lock_guard lock(world().mutex);
  *flags = 0;
  *active = primaries[device].context != nullptr;
  return CUDA_SUCCESS;
}

#define FAKE_CUDA_ONE_LINE(symbol, parameters, result) \
  CUresult symbol parameters {                         \
    FAKE_CUDA_ENTER(symbol);                           \
    return result;                                     \
  }
FAKE_CUDA_ONE_LINE(cuDevicePrimaryCtxRelease, (CUdevice device), release(device, false))
FAKE_CUDA_ONE_LINE(cuDevicePrimaryCtxRelease_v2, (CUdevice device), release(device, false))
FAKE_CUDA_ONE_LINE(cuDevicePrimaryCtxReset, (CUdevice device), release(device, true))
FAKE_CUDA_ONE_LINE(cuDevicePrimaryCtxReset_v2, (CUdevice device), release(device, true))
FAKE_CUDA_ONE_LINE(cuCtxCreate, (CUcontext* out, unsigned, CUdevice device), create(out, device))
FAKE_CUDA_ONE_LINE(cuCtxCreate_v2, (CUcontext* out, unsigned, CUdevice device), create(out, device))
FAKE_CUDA_ONE_LINE(cuCtxCreate_v3,
                   (CUcontext* out, CUexecAffinityParam*, int, unsigned, CUdevice device),
                   create(out, device))
FAKE_CUDA_ONE_LINE(cuCtxCreate_v4,
                   (CUcontext* out, CUctxCreateParams*, unsigned, CUdevice device),
                   create(out, device))
FAKE_CUDA_ONE_LINE(cuCtxDestroy, (CUcontext context), destroy(context))
FAKE_CUDA_ONE_LINE(cuCtxDestroy_v2, (CUcontext context), destroy(context))
FAKE_CUDA_ONE_LINE(cuCtxPushCurrent, (CUcontext context), push(context))
FAKE_CUDA_ONE_LINE(cuCtxPushCurrent_v2, (CUcontext context), push(context))
FAKE_CUDA_ONE_LINE(cuCtxPopCurrent, (CUcontext* context), pop(context))
FAKE_CUDA_ONE_LINE(cuCtxPopCurrent_v2, (CUcontext* context), pop(context))
FAKE_CUDA_ONE_LINE(cuCtxSynchronize, (), CUDA_SUCCESS)

CUresult cuCtxSetCurrent(CUcontext context) {
  FAKE_CUDA_ENTER(cuCtxSetCurrent);
  if (!stack.empty()) stack.pop_back();
  if (context != nullptr) stack.push_back(reinterpret_cast<Context*>(context));
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* context) {
  FAKE_CUDA_ENTER(cuCtxGetCurrent);
  *context = reinterpret_cast<CUcontext>(current());
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* device) {
  FAKE_CUDA_ENTER(cuCtxGetDevice);
  if (current() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  *device = current()->device;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice_v2(CUdevice* device, CUcontext context) {
  FAKE_CUDA_ENTER(cuCtxGetDevice_v2);
  const Context* asked = context != nullptr ? reinterpret_cast<Context*>(context) : current();
  if (asked == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  *device = asked->device;
  return CUDA_SUCCESS;
}

}  // extern "C"
