#include "shim/budget/refusal_record.h"

#include <string.h>

#include "collector/probe/process.h"
#include "shim/budget/group_table.h"
#include "shim/budget/ledger.h"
#include "shim/core/copy_text.h"
#include "shim/core/model_files.h"
#include "shim/core/session.h"
#include "shim/trace/holders.h"
#include "shim/trace/sampler.h"

namespace oomguard::budget {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
// The first refusals of an incident get the whole picture; a retry loop's thousandth only numbers.
constexpr uint64_t kDetailed = 4;
constexpr Bytes kRoomForLines = 2 * kMiB;
constexpr size_t kNeighboursLooked = 64;
// `oomguard run` waits beside the program that it started.
constexpr const char* kCommand = "oomguard";
constexpr Bytes kCommandHolds = 16 * kMiB;

constinit std::atomic<uint64_t> g_last_incident{0};
constinit std::atomic<uint64_t> g_in_incident{0};

const probe::Probe& source_of(const Judgement& judgement) noexcept {
  return judgement.source != nullptr ? *judgement.source : gate.probe;
}

void fill_levels(const Judgement& judgement, record::RefusalRecord* out) noexcept {
  const probe::Reading& reading = judgement.reading;
  out->level_count =
      reading.level_count < record::kLevelSlots ? reading.level_count : record::kLevelSlots;
  for (uint32_t i = 0; i < out->level_count; ++i) {
    const probe::Level& level = reading.levels[i];
    record::LevelRecord& record = out->levels[i];
    record.kind = static_cast<uint32_t>(level.kind);
    record.binds = i == judgement.headroom.level ? 1 : 0;
    record.limit_bytes = level.limit;
    record.usage_bytes = level.usage;
    record.reclaimable_bytes = level.reclaimable;
    record.swap_room_bytes = level.swap_room;
    copy_text(record.path, sizeof record.path, source_of(judgement).level_path(level.path_index));
  }
}

void fill_blocks(const probe::Residency* pages, int64_t now_ns,
                 record::RefusalRecord* out) noexcept {
  Block blocks[record::kBlockSlots];
  const size_t count = ledger.largest(blocks, record::kBlockSlots);
  out->block_count = static_cast<uint32_t>(count);
  for (size_t i = 0; i < count; ++i) {
    record::BlockRecord& block = out->blocks[i];
    block.address = blocks[i].address;
    block.size_bytes = blocks[i].size_bytes;
    block.touched_bytes = blocks[i].touched_bytes;
    if (pages != nullptr) {
      block.touched_bytes = pages->touched_bytes(
          blocks[i].address, static_cast<size_t>(blocks[i].size_bytes));
    }
    block.age_ms = (now_ns - blocks[i].born_ns) / 1'000'000;
    module_name(blocks[i].caller, block.module, sizeof block.module);
  }
  out->recorded_bytes = ledger.total_bytes();
  out->recorded_blocks = ledger.count();
}

bool is_shared_limit(const Judgement& judgement) noexcept {
  const probe::Level* level = probe::binding(judgement.reading, judgement.headroom);
  return level != nullptr && probe::is_shared(level->kind);
}

// The largest other processes of the innermost group, largest first.
void fill_neighbours(const Judgement& judgement, int32_t own_pid,
                     record::RefusalRecord* out) noexcept {
  int32_t pids[kNeighboursLooked];
  const size_t count = probe::list_group(source_of(judgement), pids, kNeighboursLooked);
  uint32_t used = 0;
  for (size_t i = 0; i < count; ++i) {
    probe::ProcessStatus status;
    if (pids[i] == own_pid || !probe::read_status(pids[i], &status)) continue;
    if (strcmp(status.comm, kCommand) == 0 && status.resident < kCommandHolds) continue;
    if (used == record::kNeighbourSlots &&
        status.resident <= out->neighbours[used - 1].resident_bytes) {
      continue;
    }
    uint32_t at = used < record::kNeighbourSlots ? used++ : used - 1;
    while (at > 0 && out->neighbours[at - 1].resident_bytes < status.resident) {
      out->neighbours[at] = out->neighbours[at - 1];
      --at;
    }
    record::NeighbourRecord& neighbour = out->neighbours[at];
    neighbour.pid = pids[i];
    neighbour.guarded = group_table.guarded(pids[i]) ? 1 : 0;
    neighbour.resident_bytes = status.resident;
    copy_text(neighbour.name, sizeof neighbour.name, status.comm);
  }
  out->neighbour_count = used;
}

void read_thread_name(int32_t thread_id, char* out, size_t capacity) noexcept {
  char path[48] = "/proc/self/task/";
  size_t used = strlen(path);
  char digits[12];
  size_t count = 0;
  for (int32_t rest = thread_id; rest > 0; rest /= 10)
    digits[count++] = static_cast<char>('0' + rest % 10);
  while (count > 0) path[used++] = digits[--count];
  memcpy(path + used, "/comm", 6);
  const int fd = sys::open(path, O_RDONLY);
  long got = fd >= 0 ? sys::read(fd, out, capacity - 1) : 0;
  if (fd >= 0) sys::close(fd);
  if (got < 0) got = 0;
  if (got > 0 && out[got - 1] == '\n') --got;
  out[got] = '\0';
}

// Of a refusal of the same incident, a moment ago. None where another thread is still writing it.
trace::Holders holders_of(const record::FlightFile& flight, uint64_t number, uint64_t incident,
                          record::HolderRecord (&out)[record::kHolderSlots]) noexcept {
  const record::RefusalRecord& before = flight.refusals[(number - 1) % record::kRefusalSlots];
  if (before.sequence.load(std::memory_order_acquire) != number || before.incident != incident)
    return {};
  const trace::Holders holders = {before.holder_count, before.attributed_bytes};
  memcpy(out, before.holders, sizeof out);
  std::atomic_thread_fence(std::memory_order_acquire);
  return before.sequence.load(kRelaxed) == number ? holders : trace::Holders{};
}

}  // namespace

uint64_t write_refusal(const Refusal& refusal, int64_t now_ns) noexcept {
  session::ensure_own_file();
  record::FlightFile& flight = *session::file();
  const uint64_t number = flight.header.refusals.fetch_add(1, kRelaxed) + 1;
  record::RefusalRecord& out = flight.refusals[(number - 1) % record::kRefusalSlots];
  // A flood does not push out how its incident began: beyond the ring it is only counted. Signals
  // are few, and their exceptions carry the record's number.
  if (number > record::kRefusalSlots && out.incident == refusal.incident &&
      refusal.outcome != record::Outcome::kException) {
    return number;
  }
  out.sequence.store(0, std::memory_order_release);  // readers skip it until it is complete
  if (g_last_incident.exchange(refusal.incident, kRelaxed) != refusal.incident) {
    flight.header.incidents.fetch_add(1, kRelaxed);
    g_in_incident.store(0, kRelaxed);
  }
  const bool detailed = g_in_incident.fetch_add(1, kRelaxed) < kDetailed;
  const Judgement& judgement = *refusal.judgement;
  out.incident = refusal.incident;
  out.at_realtime_ns = sys::realtime_ns();
  out.at_monotonic_ns = now_ns;
  out.pid = static_cast<int32_t>(sys::call(SYS_getpid));
  out.thread_id = refusal.thread_id;
  out.kind = static_cast<uint32_t>(refusal.kind);
  out.outcome = static_cast<uint32_t>(refusal.outcome);
  out.request_bytes = refusal.size;
  out.headroom_bytes = judgement.headroom.bytes;
  out.line_bytes = judgement.line;
  out.reserve_bytes = gate.reserve();
  out.in_flight_bytes = judgement.in_flight;
  out.pending_bytes = judgement.pending;
  out.surfaced = 0;
  out.recovered = 0;
  out.where[0] = '\0';
  out.ancestors_hidden = source_of(judgement).ancestors_hidden() ? 1 : 0;
  probe::ProcessStatus self;
  const bool known = probe::read_status(0, &self);
  out.resident_bytes = known ? self.resident : -1;
  out.anonymous_bytes = known ? self.resident_anonymous : -1;
  module_name(refusal.caller, out.module, sizeof out.module);
  read_thread_name(refusal.thread_id, out.thread_name, sizeof out.thread_name);
  out.neighbour_count = 0;
  if (refusal.fill != nullptr) {
    refusal.fill(refusal.data, &out);
  } else {
    fill_levels(judgement, &out);
    fill_blocks(detailed ? judgement.pages : nullptr, now_ns, &out);
  }
  trace::Holders holders;
  if (!detailed) holders = holders_of(flight, number - 1, refusal.incident, out.holders);
  // Where nothing is left this must not be what touches a page that is not there.
  if (detailed && refusal.fill == nullptr && trace::enabled() && judgement.headroom.bytes >= kRoomForLines) {
    holders = trace::largest_holders(now_ns, judgement.pages, out.holders, record::kHolderSlots);
  }
  out.holder_count = holders.count;
  out.attributed_bytes = holders.attributed_bytes;
  if (detailed && is_shared_limit(judgement)) fill_neighbours(judgement, out.pid, &out);
  // Nobody asked: this is the raw thread, which opens nothing that may wait.
  if (detailed && refusal.kind != record::RequestKind::kTouch) model_files::look(now_ns);
  out.sequence.store(number, std::memory_order_release);  // pairs with the readers' acquire
  if (refusal.outcome == record::Outcome::kReported) session::report_later(number);
  return number;
}

// The first record of a file begins an incident, also where it is part of the parent's.
void forget_incident_of_parent() noexcept { g_last_incident.store(0, kRelaxed); }

uint64_t adopt_record(const record::RefusalRecord& theirs) noexcept {
  session::ensure_own_file();
  record::FlightFile& flight = *session::file();
  const uint64_t number = flight.header.refusals.fetch_add(1, kRelaxed) + 1;
  record::RefusalRecord& out = flight.refusals[(number - 1) % record::kRefusalSlots];
  constexpr size_t kBehindSequence = sizeof out.sequence;
  out.sequence.store(0, std::memory_order_release);
  memcpy(reinterpret_cast<char*>(&out) + kBehindSequence,
         reinterpret_cast<const char*>(&theirs) + kBehindSequence, sizeof out - kBehindSequence);
  out.incident = static_cast<uint64_t>(theirs.pid) << 32 | (theirs.incident & 0xffffffff);
  out.surfaced = 0;
  flight.header.incidents.fetch_add(1, kRelaxed);
  out.sequence.store(number, std::memory_order_release);
  return number;
}

}  // namespace oomguard::budget
