// libnvidia-ml.so.1 on the fake driver's cards (FAKE_CUDA_STATE, so that both see the same ones).
// nvml.h is not part of the toolkit: the few types are declared here, as NVML 13 has them.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

#include "tests/gpu/fake/shared_cards.h"

namespace {

enum nvmlReturn_t {
  NVML_SUCCESS = 0,
  NVML_ERROR_INVALID_ARGUMENT = 2,
  NVML_ERROR_NOT_SUPPORTED = 3,
  NVML_ERROR_NOT_FOUND = 6,
  NVML_ERROR_INSUFFICIENT_SIZE = 7,
  NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
};

using nvmlDevice_t = fake::Card*;

struct nvmlMemory_t {
  unsigned long long total, free, used;
};

struct nvmlMemory_v2_t {
  unsigned version;
  unsigned long long total, reserved, free, used;
};
constexpr unsigned kMemoryVersion2 = sizeof(nvmlMemory_v2_t) | 2u << 24;

struct nvmlProcessInfo_t {
  unsigned pid;
  unsigned long long usedGpuMemory;
  unsigned gpuInstanceId, computeInstanceId;
};

int card_count() {
  int count = 0;
  while (count < fake::kCards && fake::cards().cards[count].bytes != 0) ++count;
  return count;
}

int number(nvmlDevice_t device) {
  return static_cast<int>(device - fake::cards().cards.data());
}

unsigned long long held(nvmlDevice_t device) {
  fake::reap();
  return device->held;
}

template <typename Text>
nvmlReturn_t find(nvmlDevice_t* out, const char* wanted, Text text_of) {
  for (int i = 0; i < card_count(); ++i) {
    if (text_of(i) == wanted) {
      *out = &fake::cards().cards[i];
      return NVML_SUCCESS;
    }
  }
  return NVML_ERROR_NOT_FOUND;
}

}  // namespace

#define FAKE_NVML extern "C" __attribute__((visibility("default"))) nvmlReturn_t

FAKE_NVML nvmlInit_v2() { return NVML_SUCCESS; }
FAKE_NVML nvmlInitWithFlags(unsigned) { return NVML_SUCCESS; }
FAKE_NVML nvmlShutdown() { return NVML_SUCCESS; }

FAKE_NVML nvmlSystemGetDriverVersion(char* out, unsigned length) {
  snprintf(out, length, "580.00.00");
  return NVML_SUCCESS;
}

FAKE_NVML nvmlSystemGetCudaDriverVersion_v2(int* out) {
  *out = 13000;
  return NVML_SUCCESS;
}

FAKE_NVML nvmlDeviceGetCount_v2(unsigned* count) {
  *count = card_count();
  return NVML_SUCCESS;
}

FAKE_NVML nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t* out) {
  if (static_cast<int>(index) >= card_count()) return NVML_ERROR_INVALID_ARGUMENT;
  *out = &fake::cards().cards[index];
  return NVML_SUCCESS;
}

FAKE_NVML nvmlDeviceGetHandleByUUID(const char* uuid, nvmlDevice_t* out) {
  // "MIG-GPU-..." is the old form of an instance's name; one instance a card here.
  if (strncmp(uuid, "MIG-", 4) == 0) uuid += 4;
  return find(out, uuid, fake::card_uuid);
}

FAKE_NVML nvmlDeviceGetHandleByPciBusId_v2(const char* bus, nvmlDevice_t* out) {
  if (strlen(bus) == 12) {  // 0000:01:00.0
    return find(out, bus, [](int i) { return fake::card_bus(i).substr(4); });
  }
  return find(out, bus, fake::card_bus);
}

FAKE_NVML nvmlDeviceGetIndex(nvmlDevice_t device, unsigned* out) {
  *out = number(device);
  return NVML_SUCCESS;
}

FAKE_NVML nvmlDeviceGetName(nvmlDevice_t device, char* out, unsigned length) {
  snprintf(out, length, "Fake card %d", number(device));
  return NVML_SUCCESS;
}

FAKE_NVML nvmlDeviceGetUUID(nvmlDevice_t device, char* out, unsigned length) {
  const std::string uuid = fake::card_uuid(number(device));
  if (length <= uuid.size()) return NVML_ERROR_INSUFFICIENT_SIZE;
  strcpy(out, uuid.c_str());
  return NVML_SUCCESS;
}

FAKE_NVML nvmlDeviceGetMigMode(nvmlDevice_t, unsigned*, unsigned*) {
  return NVML_ERROR_NOT_SUPPORTED;
}

FAKE_NVML nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t* out) {
  const unsigned long long total = device->bytes;
  const unsigned long long used = held(device);
  *out = {total, total - (used < total ? used : total), used};
  return NVML_SUCCESS;
}

FAKE_NVML nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t* out) {
  if (out->version != kMemoryVersion2) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
  nvmlMemory_t plain;
  nvmlDeviceGetMemoryInfo(device, &plain);
  *out = {kMemoryVersion2, plain.total, 0, plain.free, plain.used};
  return NVML_SUCCESS;
}

FAKE_NVML nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned* count,
                                                  nvmlProcessInfo_t* out) {
  const unsigned room = out == nullptr ? 0 : *count;
  *count = 0;
  if (getenv("FAKE_CUDA_CONTAINER") != nullptr) return NVML_SUCCESS;
  for (const fake::Process& process : fake::cards().processes) {
    const unsigned long long bytes = process.bytes[number(device)];
    if (process.pid <= 0 || bytes == 0) continue;
    if (*count < room) {
      out[*count] = {static_cast<unsigned>(process.pid), bytes, ~0u, ~0u};
    }
    ++*count;
  }
  if (const char* delay_us = getenv("FAKE_CUDA_TELLS_US")) usleep(atoi(delay_us));
  return *count > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}
