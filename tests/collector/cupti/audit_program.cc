// audit_program AUDITOR CUPTI: loads CUPTI (a path; "-": the auditor has to find one), starts the
// auditor with a ledger that has 8 bytes on GPU 0, hands records to a fake CUPTI, and ends.
#include <cupti.h>
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "collector/cupti/audit.h"

namespace {

int64_t held(int device, int kind) { return device == 0 && kind == kOomguardAuditDevice ? 8 : 0; }
int knows(uint64_t address, int) { return address == 0x10; }

void take(void* cupti, uint64_t address, uint64_t bytes) {
  auto* record = reinterpret_cast<void (*)(const void*)>(dlsym(cupti, "fake_cupti_record"));
  if (record == nullptr) return;
  CUpti_ActivityMemory4 memory = {};
  memory.kind = CUPTI_ACTIVITY_KIND_MEMORY2;
  memory.memoryOperationType = CUPTI_ACTIVITY_MEMORY_OPERATION_TYPE_ALLOCATION;
  memory.memoryKind = CUPTI_ACTIVITY_MEMORY_KIND_DEVICE;
  memory.address = address;
  memory.bytes = bytes;
  record(&memory);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  void* cupti = strcmp(argv[2], "-") == 0 ? nullptr : dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
  void* auditor = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (auditor == nullptr) {
    fprintf(stderr, "%s\n", dlerror());
    return 3;
  }
  const auto start =
      reinterpret_cast<decltype(&oomguard_audit_start)>(dlsym(auditor, "oomguard_audit_start"));
  static const OomguardAuditLedger ledger = {held, knows};
  printf("start %d\n", start(&ledger));
  if (cupti != nullptr) {
    take(cupti, 0x10, 8);
    take(cupti, 0x20, strtoull(argv[3], nullptr, 10));
    if (auto* count = reinterpret_cast<int (*)()>(dlsym(cupti, "fake_cupti_subscribers"))) {
      printf("subscribers %d\n", count());
    }
  }
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) exit(0);  // reports nothing
  int status = 0;
  waitpid(child, &status, 0);
  printf("child %d\n", status);
}
