#include "shim/gpu/ledger.h"

#include "shim/core/copy_text.h"
#include "shim/core/session.h"

namespace oomguard::gpu {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
static_assert(static_cast<uint32_t>(Account::kManaged) ==
              static_cast<uint32_t>(record::GpuAccount::kManaged));

void raise(std::atomic<Bytes>& peak, Bytes bytes) noexcept {
  Bytes before = peak.load(kRelaxed);
  while (bytes > before && !peak.compare_exchange_weak(before, bytes, kRelaxed)) {
  }
}

// Numbers of the flight file change by the same amounts, in whatever order.
void show_change(int device, Bytes held, Bytes peak) noexcept {
  if (device >= static_cast<int>(record::kGpuSlots)) return;
  record::GpuRecord& gpu = session::file()->header.gpus[device];
  gpu.held_bytes.fetch_add(held, kRelaxed);
  raise(gpu.peak_bytes, peak);
}

}  // namespace

constinit Ledger ledger;

void Ledger::add(int device, Account account, Bytes bytes) noexcept {
  const auto number = static_cast<size_t>(account);
  card(device).by[number].fetch_add(bytes, kRelaxed);
  if (device < static_cast<int>(record::kGpuSlots))
    session::file()->header.gpus[device].by_account[number].fetch_add(bytes, kRelaxed);
}

void Ledger::show(int device, Bytes total, Bytes budget, const char* name) noexcept {
  if (device >= static_cast<int>(record::kGpuSlots)) return;
  record::GpuRecord& gpu = session::file()->header.gpus[device];
  gpu.budget_bytes.store(budget, kRelaxed);
  copy_text(gpu.name, sizeof gpu.name, name);
  gpu.total_bytes.store(total, kRelaxed);
}

bool Ledger::reserve(int device, Bytes bytes, Bytes limit) noexcept {
  Card& to = card(device);
  Bytes before = to.held.load(kRelaxed);
  Bytes after = 0;
  do {
    if (__builtin_add_overflow(before, bytes, &after) || after > limit) return false;
  } while (!to.held.compare_exchange_weak(before, after, std::memory_order_acq_rel));
  raise(to.peak, after);
  show_change(device, bytes, after);
  if (auto* shared = to.shared.load(kRelaxed)) shared->fetch_add(bytes);
  return true;
}

void Ledger::change(int device, Bytes bytes) noexcept {
  Card& to = card(device);
  const Bytes after = to.held.fetch_add(bytes, std::memory_order_acq_rel) + bytes;
  raise(to.peak, after);
  show_change(device, bytes, after);
  if (auto* shared = to.shared.load(kRelaxed)) shared->fetch_add(bytes);
}

void Ledger::release(int device, Bytes bytes) noexcept { change(device, -bytes); }

void Ledger::commit(int device, Account account, Bytes bytes) noexcept {
  add(device, account, bytes);
}

void Ledger::uncommit(int device, Account account, Bytes bytes) noexcept {
  add(device, account, -bytes);
  release(device, bytes);
}

void Ledger::grow(int device, Account account, Bytes bytes, Bytes reserved) noexcept {
  add(device, account, bytes);
  change(device, bytes - reserved);
}

void Ledger::add_managed(int device, Bytes bytes) noexcept {
  add(device, Account::kManaged, bytes);
}

void Ledger::add_host(Account account, Bytes bytes) noexcept {
  host_[static_cast<size_t>(account)].fetch_add(bytes, kRelaxed);
  record::FlightHeader& header = session::file()->header;
  (account == Account::kPinned ? header.pinned_bytes : header.registered_bytes)
      .fetch_add(bytes, kRelaxed);
}

void Ledger::hide_from_tree() noexcept {
  for (Card& each : cards_) {
    if (auto* shared = each.shared.load(kRelaxed)) shared->store(0);
  }
}

void Ledger::show_to_tree() noexcept {
  for (Card& each : cards_) {
    if (auto* shared = each.shared.load(kRelaxed)) shared->store(each.held.load(kRelaxed));
  }
}

void Ledger::leave_tree() noexcept {
  for (Card& each : cards_) each.shared.store(nullptr, kRelaxed);
}

void Ledger::forget() noexcept {
  for (Table* table : {&blocks, &arrays, &handles, &mappings, &pools}) table->forget();
  for (Card& each : cards_) {
    each.held.store(0, kRelaxed);
    each.peak.store(0, kRelaxed);
    each.shared.store(nullptr, kRelaxed);
    for (std::atomic<Bytes>& bytes : each.by) bytes.store(0, kRelaxed);
  }
  for (std::atomic<Bytes>& bytes : host_) bytes.store(0, kRelaxed);
}

}  // namespace oomguard::gpu
