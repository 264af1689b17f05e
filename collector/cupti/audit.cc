#include "collector/cupti/audit.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <mutex>

#include "collector/cupti/books.h"
#include "collector/cupti/library.h"

namespace oomguard::cupti {
namespace {

constexpr size_t kBufferBytes = 1 << 20;
constexpr size_t kBufferAlignment = 8;

// Never destroyed: CUPTI's thread may still deliver at exit.
struct Audit {
  Library library;
  const OomguardAuditLedger* ledger = nullptr;
  pid_t pid = 0;
  std::mutex mutex;  // of the books: buffers are delivered by several threads
  Books books;
};
Audit* g_audit = nullptr;

void say(const std::string& text) {
  const std::string line = "oomguard audit: " + text + "\n";
  if (write(STDERR_FILENO, line.data(), line.size()) < 0) return;  // there is nobody to tell
}

void CUPTIAPI request_buffer(uint8_t** buffer, size_t* bytes, size_t* most_records) {
  *buffer = static_cast<uint8_t*>(aligned_alloc(kBufferAlignment, kBufferBytes));
  *bytes = *buffer != nullptr ? kBufferBytes : 0;
  *most_records = 0;
}

void CUPTIAPI complete_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  {
    const std::lock_guard lock(g_audit->mutex);
    CUpti_Activity* record = nullptr;
    while (valid != 0 && g_audit->library.cuptiActivityGetNextRecord(buffer, valid, &record) ==
                             CUPTI_SUCCESS) {
      g_audit->books.enter(*record);
    }
  }
  free(buffer);
}

std::string name_of(uint64_t pc) {
  Dl_info info;
  if (pc == 0 || dladdr(reinterpret_cast<void*>(pc), &info) == 0) return "unknown code";
  const char* slash = strrchr(info.dli_fname, '/');
  std::string name = slash != nullptr ? slash + 1 : info.dli_fname;
  if (info.dli_sname != nullptr) name += std::string(" ") + info.dli_sname;
  return name;
}

constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_MEMORY2,
                                         CUPTI_ACTIVITY_KIND_MEMORY_POOL};

// A child of fork has neither CUPTI's thread nor what its parent held.
void finish() {
  if (getpid() != g_audit->pid) return;
  const Library& library = g_audit->library;
  library.cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  for (const CUpti_ActivityKind kind : kKinds) library.cuptiActivityDisable(kind);
  const std::lock_guard lock(g_audit->mutex);
  const std::vector<std::string> lines = g_audit->books.compare(*g_audit->ledger, name_of);
  if (g_audit->books.records() == 0 && !lines.empty()) {
    // Whoever registers callbacks later takes the records (PyTorch's profiler, Nsight).
    say("no records came: another tool has taken CUPTI over, nothing is compared");
    return;
  }
  if (lines.empty()) say("nothing is held, difference 0 bytes");
  for (const std::string& line : lines) say(line);
}

void CUPTIAPI ignore(void*, CUpti_CallbackDomain, CUpti_CallbackId, const void*) {}

int driver_major() {
  void* const driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  const auto ask = driver == nullptr ? nullptr
                                     : reinterpret_cast<decltype(&cuDriverGetVersion)>(
                                           dlsym(driver, "cuDriverGetVersion"));
  int version = 0;
  return ask != nullptr && ask(&version) == CUDA_SUCCESS ? version / 1000 : 0;
}

// Null, or why not.
std::string begin(Audit& audit) {
  std::string why;
  if (!audit.library.load(driver_major(), &why)) return why;
  const Library& library = audit.library;
  const auto words = [&library](const char* what, CUptiResult result) {
    const char* text = nullptr;
    library.cuptiGetResultString(result, &text);
    return std::string(what) + ": " + (text != nullptr ? text : "an unknown error");
  };
  // Only to see whether somebody else is there: a subscription that is kept keeps others out.
  CUpti_SubscriberHandle subscriber = nullptr;
  const CUptiResult free = library.cuptiSubscribe(&subscriber, ignore, nullptr);
  if (free == CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED) {
    return "another tool uses CUPTI (a profiler?)";
  }
  if (free != CUPTI_SUCCESS) return words("CUPTI does not start", free);
  library.cuptiUnsubscribe(subscriber);
  CUptiResult result = library.cuptiActivityRegisterCallbacks(request_buffer, complete_buffer);
  for (const CUpti_ActivityKind kind : kKinds) {
    if (result == CUPTI_SUCCESS) result = library.cuptiActivityEnable(kind);
  }
  return result == CUPTI_SUCCESS ? "" : words("CUPTI records no memory", result);
}

}  // namespace
}  // namespace oomguard::cupti

extern "C" __attribute__((visibility("default"))) int oomguard_audit_start(
    const OomguardAuditLedger* ledger) {
  using namespace oomguard::cupti;
  if (g_audit != nullptr) return 1;
  g_audit = new Audit;
  g_audit->ledger = ledger;
  g_audit->pid = getpid();
  const std::string why = begin(*g_audit);
  if (!why.empty()) {
    say("off: " + why);
    return 1;
  }
  // Registered after the driver's and CUPTI's own, so it runs before them.
  atexit(finish);
  return 0;
}
