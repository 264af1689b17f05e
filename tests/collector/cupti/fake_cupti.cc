// libcupti.so.13 as far as the auditor asks for it. A test hands records to fake_cupti_record; they
// are delivered by a flush. FAKE_CUPTI_BUSY=1: another tool is subscribed. FAKE_CUPTI_TAKEN=1:
// another tool takes the records over.
#include <cupti.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

CUpti_BuffersCallbackRequestFunc request = nullptr;
CUpti_BuffersCallbackCompleteFunc complete = nullptr;
std::vector<std::string> records;
int subscribers = 0;
unsigned kinds = 0;

bool is_set(const char* name) { return getenv(name) != nullptr; }

size_t size_of(const CUpti_Activity* record) {
  return record->kind == CUPTI_ACTIVITY_KIND_MEMORY2 ? sizeof(CUpti_ActivityMemory4)
                                                     : sizeof(CUpti_ActivityMemoryPool3);
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT void fake_cupti_record(const void* record) {
  const auto* bytes = static_cast<const char*>(record);
  records.emplace_back(bytes, size_of(static_cast<const CUpti_Activity*>(record)));
}
EXPORT int fake_cupti_subscribers() { return subscribers; }
EXPORT unsigned fake_cupti_kinds() { return kinds; }

EXPORT CUptiResult cuptiGetVersion(uint32_t* version) {
  *version = CUPTI_API_VERSION;
  return CUPTI_SUCCESS;
}

EXPORT CUptiResult cuptiGetResultString(CUptiResult, const char** text) {
  *text = "a fake error";
  return CUPTI_SUCCESS;
}

EXPORT CUptiResult cuptiSubscribe(CUpti_SubscriberHandle* out, CUpti_CallbackFunc, void*) {
  if (is_set("FAKE_CUPTI_BUSY")) return CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED;
  *out = reinterpret_cast<CUpti_SubscriberHandle>(&subscribers);
  ++subscribers;
  return CUPTI_SUCCESS;
}

EXPORT CUptiResult cuptiUnsubscribe(CUpti_SubscriberHandle) {
  --subscribers;
  return CUPTI_SUCCESS;
}

EXPORT CUptiResult cuptiActivityRegisterCallbacks(CUpti_BuffersCallbackRequestFunc a,
                                                  CUpti_BuffersCallbackCompleteFunc b) {
  request = a;
  complete = b;
  return CUPTI_SUCCESS;
}

EXPORT CUptiResult cuptiActivityEnable(CUpti_ActivityKind) {
  ++kinds;
  return CUPTI_SUCCESS;
}

EXPORT CUptiResult cuptiActivityDisable(CUpti_ActivityKind) {
  --kinds;
  return CUPTI_SUCCESS;
}

EXPORT CUptiResult cuptiActivityFlushAll(uint32_t) {
  if (is_set("FAKE_CUPTI_TAKEN")) return CUPTI_SUCCESS;
  uint8_t* buffer = nullptr;
  size_t bytes = 0, most = 0, valid = 0;
  request(&buffer, &bytes, &most);
  for (const std::string& record : records) {
    if (valid + record.size() > bytes) break;
    memcpy(buffer + valid, record.data(), record.size());
    valid += record.size();
  }
  records.clear();
  complete(nullptr, 0, buffer, bytes, valid);
  return CUPTI_SUCCESS;
}

EXPORT CUptiResult cuptiActivityGetNextRecord(uint8_t* buffer, size_t valid, CUpti_Activity** at) {
  uint8_t* const last = reinterpret_cast<uint8_t*>(*at);
  uint8_t* const next = last == nullptr ? buffer : last + size_of(*at);
  if (next >= buffer + valid) return CUPTI_ERROR_MAX_LIMIT_REACHED;
  *at = reinterpret_cast<CUpti_Activity*>(next);
  return CUPTI_SUCCESS;
}
