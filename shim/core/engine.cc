#include "shim/core/engine.h"

#include <string.h>

#include "shim/budget/gate.h"
#include "shim/budget/relief.h"
#include "shim/core/cells.h"
#include "shim/core/copy_text.h"
#include "shim/core/relatives.h"
#include "shim/core/session.h"
#include "shim/core/thread_state.h"
#include "shim/trace/python_stack.h"

namespace oomguard::engine {
namespace {

using budget::gate;

// The newest record of a refusal before number `n`; null where there is none.
record::RefusalRecord* newest_before(uint64_t n) noexcept {
  record::RefusalRecord* newest = nullptr;
  uint64_t number = 0;
  for (record::RefusalRecord& refusal : session::file()->refusals) {
    const uint64_t sequence = refusal.sequence.load(std::memory_order_acquire);
    if (sequence <= number || sequence >= n) continue;
    newest = &refusal;
    number = sequence;
  }
  return newest;
}

// The record of refusal `n` (0: the newest that has one), null where it has none (any more) or is
// being written.
record::RefusalRecord* find(uint64_t n) noexcept {
  if (n == 0) return newest_before(UINT64_MAX);
  record::RefusalRecord& refusal = session::file()->refusals[(n - 1) % record::kRefusalSlots];
  return refusal.sequence.load(std::memory_order_acquire) == n ? &refusal : nullptr;
}

const char* kind_name(probe::LimitKind kind) noexcept {
  switch (kind) {
    case probe::LimitKind::kCgroupV1:
    case probe::LimitKind::kCgroupV2: return "container";
    case probe::LimitKind::kMachine: return "machine";
    case probe::LimitKind::kRlimitAs: return "RLIMIT_AS";
    case probe::LimitKind::kRlimitData: return "RLIMIT_DATA";
    case probe::LimitKind::kBudget: return "budget";
    case probe::LimitKind::kGpu: return "GPU";
  }
  return "";
}

void name_limit(const probe::Level& level, char* out, size_t capacity) noexcept {
  copy_text(out, capacity, kind_name(level.kind));
  const char* path = gate.probe.level_path(level.path_index);
  const size_t used = strlen(out);
  if (path[0] == '\0' || used + 4 >= capacity) return;
  copy_text(out + used, capacity - used - 1, " (");
  copy_text(out + used + 2, capacity - used - 3, path);
  copy_text(out + strlen(out), 2, ")");
}

}  // namespace

const options::Values& values() noexcept { return gate.values(); }

bool active() noexcept { return gate.mode() == budget::Gate::Mode::kOn; }

bool usage(Usage* out) noexcept {
  probe::Reading reading;
  probe::Headroom headroom;
  if (!active() || !gate.look(probe::Depth::kFull, budget::program_now_ns(), &reading, &headroom)) {
    return false;
  }
  *out = Usage{};
  out->limit_bytes = probe::kUnlimited;
  out->reserve_bytes = gate.reserve();
  const probe::Level* level = probe::binding(reading, headroom);
  if (level == nullptr) {
    out->headroom_bytes = probe::kUnlimited;
    return true;
  }
  out->limit_bytes = level->limit;
  out->used_bytes = level->usage - level->reclaimable;
  const int64_t left = headroom.bytes - gate.reserve();
  out->headroom_bytes = left > 0 ? left : 0;
  name_limit(*level, out->limit_name, sizeof out->limit_name);
  return true;
}

uint64_t refusal_count() noexcept {
  return session::file()->header.refusals.load(std::memory_order_acquire);
}

bool copy_refusal(uint64_t n, record::RefusalRecord* out) noexcept {
  const record::RefusalRecord* refusal = find(n);
  if (refusal == nullptr) return false;
  memcpy(static_cast<void*>(out), refusal, sizeof *out);
  return true;
}

size_t render_refusal(uint64_t n, record::Audience audience, char* out, size_t capacity) noexcept {
  const record::RefusalRecord* refusal = find(n);
  if (refusal == nullptr) return 0;
  return record::render(session::file()->header, *refusal, audience, out, capacity);
}

size_t render_refusal_note(uint64_t n, char* out, size_t capacity) noexcept {
  const record::RefusalRecord* refusal = find(n);
  if (refusal == nullptr) return 0;
  return record::render_note(session::file()->header, *refusal, out, capacity);
}

uint64_t unsurfaced_refusal(int32_t thread_id) noexcept {
  uint64_t n = UINT64_MAX;
  while (const record::RefusalRecord* refusal = newest_before(n)) {
    n = refusal->sequence.load(std::memory_order_relaxed);
    if (refusal->recovered != 0) continue;
    if (refusal->surfaced != 0) return 0;  // what came before it was handled
    if (thread_id == 0 || refusal->thread_id == thread_id) return n;
  }
  return 0;
}

uint64_t childs_refusal() noexcept { return active() ? relatives::adopt_refusal() : 0; }

void surfaced(uint64_t n, const char* where) noexcept {
  record::RefusalRecord* refusal = n != 0 ? find(n) : nullptr;
  if (refusal == nullptr) return;
  copy_text(refusal->where, sizeof refusal->where, where != nullptr ? where : "");
  refusal->surfaced = 1;
  session::file()->header.surfaced.fetch_add(1, std::memory_order_relaxed);
  gate.incident.surfaced();
}

void name_file(uint64_t n, const char* path, const char* label) noexcept {
  record::RefusalRecord* refusal = n != 0 ? find(n) : nullptr;
  if (refusal == nullptr) return;
  for (uint32_t i = 0; i < refusal->holder_count && i < record::kHolderSlots; ++i) {
    record::HolderRecord& holder = refusal->holders[i];
    const size_t length = strlen(path);
    const size_t kept = strnlen(holder.file, sizeof holder.file);
    // Of a long path only the end is in the record.
    const bool is_it = kept == length || (kept + 1 == sizeof holder.file && length > kept);
    if (is_it && memcmp(path + (length - kept), holder.file, kept) == 0) {
      copy_text(holder.file, sizeof holder.file, label);
    }
  }
}

void trim() noexcept {
  if (!active()) return;
  const SlowPathScope scope;
  budget::relief::release(0, true);
}

void set_budget(int64_t bytes) noexcept { gate.set_budget(bytes); }

int64_t take_peak() noexcept { return gate.take_peak(); }

void see_host(int32_t change) noexcept { thread_state.sees_host += static_cast<uint32_t>(change); }

void allow_notices() noexcept { gate.notice.allow(); }

void interpreter_ends() noexcept {
  gate.set_finishing();
  trace::python_is_ending();
}

void ending(uint64_t n) noexcept {
  (void)n;
  gate.incident.ending();
  session::file()->header.end_state.store(static_cast<uint32_t>(record::EndState::kEndedByRefusal));
}

void exception_signal_ready(int signal_number) noexcept { gate.alarm.set_signal(signal_number); }

void exception_handled() noexcept { gate.alarm.handled(budget::program_now_ns()); }

uint64_t alarm_refusal(int32_t* growing_thread_id) noexcept {
  return gate.alarm.refusal(growing_thread_id);
}

void add_privilege(int32_t change) noexcept { gate.add_privilege(change); }

void shell_started() noexcept {
  if (active()) gate.reserve_for_shell();
}

void set_python(uint32_t major_minor, bool is_kernel, const char* connection_file,
                const char* notebook) noexcept {
  record::FlightHeader& header = session::file()->header;
  header.python_version = major_minor;
  header.is_kernel = is_kernel ? 1 : 0;
  if (connection_file != nullptr) {
    copy_text(header.connection_file, sizeof header.connection_file, connection_file);
  }
  if (notebook != nullptr) copy_text(header.notebook, sizeof header.notebook, notebook);
}

void set_cell(uint32_t number, const char* source) noexcept {
  cells::begin(&session::file()->header, number, source);
}

void name_cell(uint32_t number, const char* file) noexcept {
  cells::name(&session::file()->header, number, file);
}

void asked_to_end() noexcept {
  uint32_t running = static_cast<uint32_t>(record::EndState::kRunning);
  session::file()->header.end_state.compare_exchange_strong(
      running, static_cast<uint32_t>(record::EndState::kAsked));
}

const char* session_path() noexcept { return session::path(); }

}  // namespace oomguard::engine
