#include "shim/gpu/refusal.h"

#include <string.h>

#include <algorithm>

#include "collector/probe/process.h"
#include "shim/budget/gate.h"
#include "shim/budget/group_table.h"
#include "shim/budget/refusal_record.h"
#include "shim/budget/watchdog.h"
#include "shim/core/copy_text.h"
#include "shim/core/session.h"
#include "shim/gpu/nvml.h"

namespace oomguard::gpu {
namespace {

using budget::gate;

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr size_t kOpen = 64;
// Who asks for the same later than this has another reason.
constexpr int64_t kSameNs = 30'000'000'000;

// The newest refusal of a thread, until the same is granted.
struct Open {
  std::atomic<int32_t> thread;
  std::atomic<int32_t> device;
  std::atomic<Bytes> size;
  std::atomic<int64_t> at_ns;
  std::atomic<uint64_t> number;
};
constinit Open g_open[kOpen] = {};
constinit std::atomic<bool> g_any{false};

Open& open_of(int32_t thread) noexcept { return g_open[static_cast<uint32_t>(thread) % kOpen]; }

bool is_same(const Open& open, int32_t thread, const Request& request) noexcept {
  return open.number.load(kRelaxed) != 0 && open.thread.load(kRelaxed) == thread &&
         open.device.load(kRelaxed) == request.device && open.size.load(kRelaxed) == request.size;
}

bool is_first(const Request& request) noexcept {
  const int32_t thread = current_thread_id();
  const int64_t now_ns = budget::program_now_ns();
  Open& open = open_of(thread);
  const int64_t before_ns = open.at_ns.exchange(now_ns, kRelaxed);
  return !is_same(open, thread, request) || now_ns - before_ns > kSameNs;
}

void remember(const Request& request, uint64_t number) noexcept {
  const int32_t thread = current_thread_id();
  Open& open = open_of(thread);
  open.number.store(0, kRelaxed);
  open.thread.store(thread, kRelaxed);
  open.device.store(request.device, kRelaxed);
  open.size.store(request.size, kRelaxed);
  open.number.store(number, kRelaxed);
  g_any.store(true, kRelaxed);
}

struct Picture {
  const Request* request;
  Bytes limit;
  Bytes used;
};

void name_card(int device, char* out) noexcept {
  memcpy(out, "GPU ", 4);
  if (device >= 10) *(out + 4) = static_cast<char>('0' + device / 10);
  out[device >= 10 ? 5 : 4] = static_cast<char>('0' + device % 10);
  out[device >= 10 ? 6 : 5] = '\0';
}

const char* name_of(uint16_t account) noexcept {
  switch (static_cast<Account>(account)) {
    case Account::kArray: return "array";
    case Account::kManaged: return "managed memory";
    case Account::kVmm: return "virtual memory";
    case Account::kPool: return "pool";
    case Account::kContext: return "context";
    default: return "";
  }
}

// The largest blocks of this card, largest first.
void fill_blocks(int device, record::RefusalRecord* out) noexcept {
  uint32_t used = 0;
  const auto add = [&](const Table::Entry& entry) {
    if (entry.device != device || entry.bytes <= 0) return;
    ++out->recorded_blocks;
    if (used == record::kBlockSlots && entry.bytes <= out->blocks[used - 1].size_bytes) return;
    uint32_t at = used < record::kBlockSlots ? used++ : used - 1;
    for (; at > 0 && out->blocks[at - 1].size_bytes < entry.bytes; --at)
      out->blocks[at] = out->blocks[at - 1];
    record::BlockRecord& block = out->blocks[at];
    block = {entry.key, entry.bytes, -1, 0, ""};
    copy_text(block.module, sizeof block.module, name_of(entry.account));
  };
  out->recorded_blocks = 0;
  for (Table* table : {&ledger.blocks, &ledger.arrays, &ledger.handles, &ledger.pools})
    table->for_each(add);
  out->block_count = used;
  out->recorded_bytes = ledger.held(device);
}

// The other processes on the card that hold most, where the program has what tells of them.
void fill_neighbours(int device, record::RefusalRecord* out) noexcept {
  constexpr size_t kMost = 64;
  nvml::Process processes[kMost];
  const size_t count = nvml::open(false) ? nvml::list(device, processes, kMost) : 0;
  std::sort(processes, processes + count,
            [](const nvml::Process& a, const nvml::Process& b) { return a.bytes > b.bytes; });
  uint32_t used = 0;
  for (size_t i = 0; i < count && used < record::kNeighbourSlots; ++i) {
    if (processes[i].pid == out->pid) continue;
    record::NeighbourRecord& neighbour = out->neighbours[used++];
    neighbour.pid = processes[i].pid;
    neighbour.guarded = budget::group_table.guarded(processes[i].pid) ? 1 : 0;
    neighbour.resident_bytes = processes[i].bytes;
    probe::ProcessStatus status;
    const bool seen = probe::read_status(processes[i].pid, &status);
    copy_text(neighbour.name, sizeof neighbour.name, seen ? status.comm : "process");
  }
  out->neighbour_count = used;
}

void fill(const void* data, record::RefusalRecord* out) noexcept {
  const Picture& picture = *static_cast<const Picture*>(data);
  out->level_count = 1;
  record::LevelRecord& level = out->levels[0];
  level = {};
  level.kind = static_cast<uint32_t>(probe::LimitKind::kGpu);
  level.binds = 1;
  level.limit_bytes = picture.limit;
  level.usage_bytes = picture.used;
  name_card(picture.request->device, level.path);
  fill_blocks(picture.request->device, out);
  fill_neighbours(picture.request->device, out);
}

void write(const Request& request, record::Outcome outcome, Bytes limit, Bytes used) noexcept {
  const SlowPathScope scope;
  const int64_t now_ns = budget::program_now_ns();
  const Picture picture{&request, limit, used};
  budget::Judgement judgement;
  judgement.headroom.bytes = limit - used;
  budget::Refusal refusal{record::RequestKind::kGpu, outcome, request.size, request.caller,
                          current_thread_id(), gate.incident.refused(now_ns, false), &judgement};
  refusal.fill = fill;
  refusal.data = &picture;
  remember(request, budget::write_refusal(refusal, now_ns));
}

}  // namespace

bool refuse(const Request& request, Bytes limit, Bytes used) noexcept {
  const options::OnLimit on_limit = gate.values().on_limit;
  const bool only_warn = on_limit == options::OnLimit::kWarn;
  if (!is_first(request)) {
    // Once is normal; who asks again has freed what it could.
    if (on_limit == options::OnLimit::kExit) session::exit_at_limit();
    return only_warn;
  }
  write(request, only_warn ? record::Outcome::kReported : record::Outcome::kRefused, limit, used);
  if (only_warn) budget::watchdog::wake();  // shows it
  return only_warn;
}

void driver_refused(const Request& request, Bytes total) noexcept {
  if (is_first(request)) write(request, record::Outcome::kByDriver, total, total);
}

void granted(const Request& request) noexcept {
  if (!g_any.load(kRelaxed)) [[likely]] return;
  const int32_t thread = current_thread_id();
  Open& open = open_of(thread);
  if (!is_same(open, thread, request)) return;
  const uint64_t number = open.number.exchange(0, kRelaxed);
  record::RefusalRecord& refusal =
      session::file()->refusals[(number - 1) % record::kRefusalSlots];
  if (number != 0 && refusal.sequence.load(std::memory_order_acquire) == number &&
      refusal.outcome != static_cast<uint32_t>(record::Outcome::kReported)) {
    refusal.recovered = 1;
  }
}

void forget_refusals() noexcept {
  g_any.store(false, kRelaxed);
  for (Open& open : g_open) open.number.store(0, kRelaxed);
}

}  // namespace oomguard::gpu
