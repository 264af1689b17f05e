#include "shim/gpu/audit.h"

#include <unistd.h>

#include <atomic>
#include <cstring>

#include "collector/cupti/audit.h"
#include "collector/probe/syscall.h"
#include "shim/budget/gate.h"
#include "shim/core/dl.h"
#include "shim/gpu/ledger.h"

namespace oomguard::gpu {
namespace {

constexpr char kModule[] = "liboomguard_cupti.so";
constinit std::atomic<bool> g_started{false};

Account account_of(int kind) noexcept {
  switch (kind) {
    case kOomguardAuditDevice: return Account::kDevice;
    case kOomguardAuditArray: return Account::kArray;
    case kOomguardAuditPool: return Account::kPool;
    case kOomguardAuditManaged: return Account::kManaged;
    case kOomguardAuditPinned: return Account::kPinned;
    default: return Account::kNone;
  }
}

int64_t held(int device, int kind) noexcept {
  const Account account = account_of(kind);
  if (account == Account::kNone) return 0;
  if (account == Account::kPinned) return ledger.host(account);
  return Ledger::is_card(device) ? ledger.of(device, account) : 0;
}

int knows(uint64_t address, int kind) noexcept {
  Table::Entry entry;
  Table& table = kind == kOomguardAuditArray ? ledger.arrays : ledger.blocks;
  return table.find(address, &entry) ? 1 : 0;
}

constexpr OomguardAuditLedger kLedger = {held, knows};

void say(const char* text) noexcept {
  (void)sys::write(STDERR_FILENO, text, strlen(text));
}

// The module's path: this library's with another name.
void* load() noexcept {
  Dl_info own;
  char path[4096];
  if (dladdr(reinterpret_cast<const void*>(&audit_after_context), &own) == 0) return nullptr;
  const char* slash = strrchr(own.dli_fname, '/');
  const size_t folder = slash != nullptr ? static_cast<size_t>(slash - own.dli_fname) + 1 : 0;
  if (folder + sizeof kModule > sizeof path) return nullptr;
  memcpy(path, own.dli_fname, folder);
  memcpy(path + folder, kModule, sizeof kModule);
  return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

}  // namespace

void audit_after_context() noexcept {
  if (!budget::gate.values().gpu_audit || g_started.exchange(true)) return;
  void* const module = load();
  const auto start = module == nullptr ? nullptr
                                       : reinterpret_cast<decltype(&oomguard_audit_start)>(
                                             dlsym(module, "oomguard_audit_start"));
  if (start == nullptr) {
    say("oomguard audit: off: liboomguard_cupti.so is not there (a build without CUPTI?)\n");
    return;
  }
  (void)start(&kLedger);  // says itself why it does not
}

}  // namespace oomguard::gpu
