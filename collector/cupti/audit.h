// The auditor: a module of its own (liboomguard_cupti.so) that asks CUPTI what memory the driver
// handed out, and at the end of the process says by how many bytes that differs from the ledger of
// the GPU gate. It never gates and is loaded on request only (OOMGUARD_GPU_AUDIT).
//
// Whoever loads it calls oomguard_audit_start once, after the first context was made. The rest runs
// in CUPTI's threads and at exit. Callable from a hook: no (it allocates), but for the functions of
// the ledger, which are.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum OomguardAuditClass {
  kOomguardAuditDevice,
  kOomguardAuditArray,
  kOomguardAuditPool,  // what pools have reserved
  kOomguardAuditManaged,
  kOomguardAuditPinned,  // of the host: asked for device -1
  kOomguardAuditClasses,
};

// What the ledger answers. Thread-safe; valid until the process has ended.
struct OomguardAuditLedger {
  // Bytes that are held of a class on a device, by the driver's ordinal.
  int64_t (*held)(int device, int kind);
  // Whether something of a class with this address stands in it.
  int (*knows)(uint64_t address, int kind);
};

// 0: it audits. Anything else: it does not, and one line on stderr says why (there is no CUPTI,
// another tool subscribed to it, the driver refuses). It reports at exit, on stderr.
int oomguard_audit_start(const struct OomguardAuditLedger* ledger);

#ifdef __cplusplus
}
#endif
