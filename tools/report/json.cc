#include <ctime>

#include "collector/probe/probe.h"
#include "tools/report/formats.h"
#include "tools/report/json_parts.h"
#include "tools/report/select.h"

namespace oomguard::tools {
namespace {

const char* limit_kind(uint32_t kind) {
  static constexpr const char* kNames[] = {"unknown",   "cgroup-v1",   "cgroup-v2", "machine",
                                           "rlimit-as", "rlimit-data", "budget",    "gpu"};
  return kNames[kind < std::size(kNames) ? kind : 0];
}

const char* request_kind(uint32_t kind) {
  static constexpr const char* kNames[] = {"unknown", "malloc",     "calloc",    "realloc",
                                           "aligned", "mmap",       "mremap",    "mprotect",
                                           "brk",     "file-write", "file-size", "populate",
                                           "fork",    "pinned",     "gpu"};
  if (kind == static_cast<uint32_t>(record::RequestKind::kTouch)) return "touch";
  return kNames[kind < std::size(kNames) ? kind : 0];
}

const char* outcome(uint32_t value) {
  static constexpr const char* kNames[] = {"unknown",  "refused", "exception",
                                           "reported", "ended",   "by-driver"};
  return kNames[value < std::size(kNames) ? value : 0];
}

// Mapped files that were read from the disk over and over; null where that was never said.
Json reread_json(const record::RereadRecord& reread) {
  if (reread.times.load() == 0) return nullptr;
  return {{"times", reread.times.load()},
          {"at_realtime_ns", reread.at_realtime_ns},
          {"file", reread.file},
          {"files", reread.files},
          {"mapped_bytes", reread.mapped_bytes},
          {"read_again_bytes", number_or_null(reread.read_again_bytes, -1)},
          {"major_faults", reread.major_faults},
          {"duration_ms", reread.duration_ms},
          {"limit_bytes", number_or_null(reread.limit_bytes, INT64_MAX)}};
}

Json levels_json(const record::RefusalRecord& refusal) {
  Json levels = Json::array();
  for (uint32_t i = 0; i < refusal.level_count; ++i) {
    const record::LevelRecord& level = refusal.levels[i];
    levels.push_back({{"kind", limit_kind(level.kind)},
                      {"path", level.path},
                      {"binds", level.binds != 0},
                      {"limit_bytes", number_or_null(level.limit_bytes, INT64_MAX)},
                      {"usage_bytes", level.usage_bytes},
                      {"reclaimable_bytes", level.reclaimable_bytes},
                      {"swap_room_bytes", level.swap_room_bytes}});
  }
  return levels;
}

Json blocks_json(const record::RefusalRecord& refusal) {
  Json blocks = Json::array();
  for (uint32_t i = 0; i < refusal.block_count; ++i) {
    const record::BlockRecord& block = refusal.blocks[i];
    blocks.push_back({{"address", block.address},
                      {"size_bytes", block.size_bytes},
                      {"touched_bytes", number_or_null(block.touched_bytes, -1)},
                      {"age_ms", block.age_ms},
                      {"module", block.module}});
  }
  return blocks;
}

Json neighbours_json(const record::RefusalRecord& refusal) {
  Json neighbours = Json::array();
  for (uint32_t i = 0; i < refusal.neighbour_count; ++i) {
    const record::NeighbourRecord& neighbour = refusal.neighbours[i];
    neighbours.push_back({{"pid", neighbour.pid},
                          {"name", neighbour.name},
                          {"guarded", neighbour.guarded != 0},
                          {"resident_bytes", neighbour.resident_bytes}});
  }
  return neighbours;
}

Json holders_json(const record::RefusalRecord& refusal) {
  Json holders = Json::array();
  for (uint32_t i = 0; i < refusal.holder_count; ++i) {
    const record::HolderRecord& holder = refusal.holders[i];
    holders.push_back({{"bytes", holder.bytes},
                       {"file", holder.file},
                       {"line", holder.line},
                       {"function", holder.function},
                       {"own", holder.own_code != 0},
                       {"in_thread", holder.in_thread != 0}});
  }
  return holders;
}

Json refusal_json(const record::RefusalRecord& refusal) {
  return {{"number", refusal.sequence.load()},
          {"incident", refusal.incident},
          {"at_realtime_ns", refusal.at_realtime_ns},
          {"at_monotonic_ns", refusal.at_monotonic_ns},
          {"pid", refusal.pid},
          {"thread_id", refusal.thread_id},
          {"thread_name", refusal.thread_name},
          {"request", request_kind(refusal.kind)},
          {"outcome", outcome(refusal.outcome)},
          {"module", refusal.module},
          {"where", refusal.where},
          {"surfaced", refusal.surfaced != 0},
          {"recovered", refusal.recovered != 0},
          {"request_bytes", refusal.request_bytes},
          {"headroom_bytes", refusal.headroom_bytes},
          {"line_bytes", refusal.line_bytes},
          {"reserve_bytes", refusal.reserve_bytes},
          {"in_flight_bytes", refusal.in_flight_bytes},
          {"pending_bytes", refusal.pending_bytes},
          {"resident_bytes", refusal.resident_bytes},
          {"anonymous_bytes", refusal.anonymous_bytes},
          {"recorded_bytes", refusal.recorded_bytes},
          {"recorded_blocks", refusal.recorded_blocks},
          {"attributed_bytes", number_or_null(refusal.attributed_bytes, -1)},
          {"holders", holders_json(refusal)},
          {"ancestors_hidden", refusal.ancestors_hidden != 0},
          {"levels", levels_json(refusal)},
          {"blocks", blocks_json(refusal)},
          {"neighbours", neighbours_json(refusal)}};
}

// How the process ended; null while it runs, and where nobody asked.
Json death_json(const Report& report) {
  if (!report.death || report.death->verdict.kind == verdict::Kind::kRunning) return nullptr;
  const Death& death = *report.death;
  const verdict::Kind other = death.verdict.or_kind;
  return {{"kind", verdict::kind_name(death.verdict.kind)},
          {"or_kind", other == verdict::Kind::kUnknown ? Json(nullptr)
                                                       : Json(verdict::kind_name(other))},
          {"confidence", verdict::confidence_name(death.verdict.confidence)},
          {"explained", death.is_to_explain()},
          {"what", death.what},
          {"cause", death.cause},
          {"more", death.more},
          {"evidence", death.evidence},
          {"last_seen_realtime_ns", death.at_realtime_ns}};
}

// One key of the whole: numbers by the thousand on one line, the rest to be read.
std::string entry(const char* key, const Json& value, bool compact) {
  // Names of files and processes may be any bytes; JSON is UTF-8.
  std::string text = value.dump(compact ? -1 : 2, ' ', false, Json::error_handler_t::replace);
  for (size_t at = 0; !compact && (at = text.find('\n', at)) != std::string::npos; at += 3) {
    text.insert(at + 1, "  ");
  }
  return std::string("  \"") + key + "\": " + text;
}

int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// The cards that the process used, by its number of them.
Json gpus_json(const record::FlightHeader& header) {
  static constexpr const char* kAccounts[] = {"device", "array",   "pool",   "virtual",
                                              "graph",  "context", "managed"};
  Json gpus = Json::array();
  for (uint32_t i = 0; i < record::kGpuSlots; ++i) {
    const record::GpuRecord& gpu = header.gpus[i];
    if (gpu.total_bytes.load() == 0) continue;
    Json accounts;
    for (size_t at = 0; at < std::size(kAccounts); ++at)
      accounts[kAccounts[at]] = gpu.by_account[at].load();
    gpus.push_back({{"gpu", i},
                    {"name", gpu.name},
                    {"total_bytes", gpu.total_bytes.load()},
                    {"budget_bytes", number_or_null(gpu.budget_bytes.load(), INT64_MAX)},
                    {"held_bytes", gpu.held_bytes.load()},
                    {"peak_bytes", gpu.peak_bytes.load()},
                    {"by_account_bytes", accounts}});
  }
  return gpus;
}

}  // namespace

Json session_json(const record::FlightHeader& header, const std::string& path) {
  const uint32_t python = header.python_version;
  return {{"file", path},
          {"pid", header.pid},
          {"parent_pid", header.parent_pid},
          {"tree", header.tree},
          {"uid", header.uid},
          {"state", state_name(header)},
          {"program", header.program},
          {"command", header.command},
          {"python", python == 0 ? Json(nullptr)
                                 : Json(std::to_string(python >> 16) + "." +
                                        std::to_string(python & 0xffff))},
          {"is_kernel", header.is_kernel != 0},
          {"connection_file", header.connection_file},
          {"start_realtime_ns", header.start_realtime_ns},
          {"start_monotonic_ns", header.start_monotonic_ns},
          {"start_ticks", header.start_ticks},
          {"start_oom_kills", number_or_null(header.start_oom_kills, -1)},
          {"limit_bytes", number_or_null(header.limit_bytes, INT64_MAX)},
          {"limit_path", header.limit_path},
          {"reserve_bytes", header.reserve_bytes},
          {"refusals", header.refusals.load()},
          {"incidents", header.incidents.load()},
          {"surfaced", header.surfaced.load()},
          {"faults", header.faults.load()},
          {"ended_because", header.ended_because},
          {"reread", reread_json(header.reread)},
          {"gpus", gpus_json(header)},
          {"gpu_pinned_bytes", header.pinned_bytes.load()},
          {"gpu_registered_bytes", header.registered_bytes.load()},
          {"last_usage_bytes", header.last_usage_bytes.load()},
          {"last_headroom_bytes", header.last_headroom_bytes.load()},
          {"last_sample_ns", header.last_sample_ns.load()}};
}

Json refusals_json(const record::Flight& flight) {
  Json refusals = Json::array();
  for (const record::RefusalRecord* refusal : flight.refusals()) {
    refusals.push_back(refusal_json(*refusal));
  }
  return refusals;
}

std::string report_json(const Report& report) {
  const record::Flight& flight = *report.flight;
  const Json generated = {{"realtime_ns", now_ns()}, {"version", OOMGUARD_VERSION}};
  return "{\n" + entry("schema", kReportSchema, true) + ",\n" +
         entry("generated", generated, true) + ",\n" + entry("headline", report.headline, true) +
         ",\n" + entry("summary", report.summary, false) + ",\n" +
         entry("session", session_json(flight.header(), flight.path()), false) + ",\n" +
         entry("death", death_json(report), false) + ",\n" +
         entry("refusals", refusals_json(flight), false) + ",\n" +
         entry("samples", samples_json(flight), true) + ",\n" +
         entry("frames", frames_json(report), true) + ",\n" +
         entry("stacks", stacks_json(report), true) + ",\n" +
         entry("sites", sites_json(report), true) + ",\n" +
         entry("lines", lines_json(report), true) + ",\n" +
         entry("modules", modules_json(flight), true) + ",\n" +
         entry("model_files", model_files_json(flight), false) + ",\n" +
         entry("fits", fits_json(report), false) + "\n}\n";
}

}  // namespace oomguard::tools
