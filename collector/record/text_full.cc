// Every number of a refusal, for `oomguard report` (declared in text_parts.h).
#include "collector/options/options.h"
#include "collector/record/text_parts.h"

namespace oomguard::record {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;

// Days since 1970 to a date of the Gregorian calendar. libc's gmtime takes a lock and allocates.
void put_date(LineBuffer* out, int64_t days) {
  int64_t year = 1970;
  const auto leap = [](int64_t y) { return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0; };
  while (days >= (leap(year) ? 366 : 365)) days -= leap(year++) ? 366 : 365;
  static constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int month = 0;
  for (; month < 11; ++month) {
    const int length = kDays[month] + (month == 1 && leap(year) ? 1 : 0);
    if (days < length) break;
    days -= length;
  }
  out->padded(static_cast<uint64_t>(year), 4).text("-");
  out->padded(static_cast<uint64_t>(month + 1), 2).text("-");
  out->padded(static_cast<uint64_t>(days + 1), 2);
}

void put_time(LineBuffer* out, int64_t realtime_ns) {
  if (realtime_ns < 0) realtime_ns = 0;
  const int64_t seconds = realtime_ns / kNsPerSecond;
  const auto in_day = static_cast<uint64_t>(seconds % 86400);
  put_date(out, seconds / 86400);
  out->text(" ").padded(in_day / 3600, 2).text(":").padded(in_day / 60 % 60, 2);
  out->text(":").padded(in_day % 60, 2).text(".");
  out->padded(static_cast<uint64_t>(realtime_ns % kNsPerSecond) / 1'000'000, 3).text(" UTC");
}

void put_size(LineBuffer* out, int64_t bytes) {
  if (bytes == INT64_MAX) {
    out->text("no limit");
    return;
  }
  char text[24];
  options::format_bytes(bytes, text, sizeof(text));
  out->text(text);
}

void put_row(LineBuffer* out, const char* label, int64_t bytes, const char* meaning) {
  out->text("  ").text(label);
  put_size(out, bytes);
  out->text(meaning).end_line();
}

const char* request_name(uint32_t kind) {
  switch (static_cast<RequestKind>(kind)) {
    case RequestKind::kMalloc:
      return "malloc";
    case RequestKind::kCalloc:
      return "calloc";
    case RequestKind::kRealloc:
      return "realloc";
    case RequestKind::kAligned:
      return "aligned allocation";
    case RequestKind::kMmap:
      return "mmap";
    case RequestKind::kMremap:
      return "mremap";
    case RequestKind::kMprotect:
      return "mprotect";
    case RequestKind::kBrk:
      return "brk";
    case RequestKind::kFileWrite:
      return "write to a file in memory";
    case RequestKind::kFileSize:
      return "size of a file in memory";
    case RequestKind::kPopulate:
      return "madvise or mlock";
    case RequestKind::kFork:
      return "fork";
    case RequestKind::kPinned:
      return "host memory locked for a GPU";
    case RequestKind::kGpu:
      return "GPU memory";
    case RequestKind::kTouch:
      return "memory granted earlier being filled";
  }
  return "unknown request";
}

const char* outcome_name(uint32_t outcome) {
  switch (static_cast<Outcome>(outcome)) {
    case Outcome::kRefused:
      return "refused";
    case Outcome::kException:
      return "granted, exception sent";
    case Outcome::kReported:
      return "granted, only reported";
    case Outcome::kEnded:
      return "the process was ended";
    case Outcome::kByDriver:
      return "refused by the driver";
  }
  return "unknown outcome";
}

void put_event(LineBuffer* out, const FlightHeader& header, const RefusalRecord& refusal) {
  out->text("Program: ").name(header.command).end_line();
  out->text("When:    ");
  put_time(out, refusal.at_realtime_ns);
  out->text(", process ").number(refusal.pid).text(", thread ").number(refusal.thread_id);
  if (refusal.thread_name[0] != '\0') out->text(" (").name(refusal.thread_name).text(")");
  out->end_line();
  out->text("Number:  ").number(static_cast<int64_t>(refusal.sequence.load()));
  out->text(" of ").number(static_cast<int64_t>(header.refusals.load())).text(", incident ");
  out->number(static_cast<int64_t>(refusal.incident));
  out->text(refusal.surfaced != 0 ? ", shown"
            : refusal.recovered != 0 ? ", granted when it was asked for again"
                                     : ", handled by the program")
      .end_line();
}

void put_request_numbers(LineBuffer* out, const RefusalRecord& refusal) {
  out->text("Numbers of the decision (").text(request_name(refusal.kind)).text(", ");
  out->text(outcome_name(refusal.outcome)).text("):").end_line();
  put_row(out, "request          ", refusal.request_bytes, "");
  put_row(out, "headroom         ", refusal.headroom_bytes, "  limit less what is needed");
  put_row(out, "line             ", refusal.line_bytes, "  kept free from this kind of request");
  put_row(out, "reserve          ", refusal.reserve_bytes, "  kept free from large requests");
  put_row(out, "in flight        ", refusal.in_flight_bytes, "  granted to others, being filled");
  put_row(out, "pending          ", refusal.pending_bytes, "  asked for by others at that moment");
  put_row(out, "resident         ", refusal.resident_bytes, "  this process");
  put_row(out, "anonymous        ", refusal.anonymous_bytes, "  of these, not backed by a file");
  out->text("  large blocks     ").number(refusal.recorded_blocks).text(", together ");
  put_size(out, refusal.recorded_bytes);
  out->end_line();
  if (refusal.attributed_bytes >= 0) {
    put_row(out, "attributed       ", refusal.attributed_bytes, "  filled, with a call stack");
  }
}

void put_levels(LineBuffer* out, const Facts& facts) {
  if (facts.levels == 0) return;
  out->text("Limits:").end_line();
  for (uint32_t i = 0; i < facts.levels; ++i) {
    const LevelRecord& level = facts.refusal.levels[i];
    out->text(level.binds != 0 ? "* " : "  ");
    put_limit_name(out, level);
    out->text(": limit ");
    put_size(out, level.limit_bytes);
    out->text(", usage ");
    put_size(out, level.usage_bytes);
    out->text(", reclaimable ");
    put_size(out, level.reclaimable_bytes);
    if (level.swap_room_bytes > 0) {
      out->text(", swap left ");
      put_size(out, level.swap_room_bytes);
    }
    out->end_line();
  }
  if (facts.refusal.ancestors_hidden != 0) {
    out->text("  (limits further out exist but cannot be seen from here)").end_line();
  }
}

void put_blocks(LineBuffer* out, const Facts& facts) {
  if (facts.blocks == 0) return;
  const BlockRecord* blocks = facts.refusal.blocks;
  uint32_t order[kBlockSlots];
  order_by(order, facts.blocks, [&](uint32_t i) { return held_bytes(blocks[i]); });
  out->text("Largest blocks:").end_line();
  for (uint32_t i = 0; i < facts.blocks; ++i) {
    const BlockRecord& block = blocks[order[i]];
    out->text("  ");
    put_size(out, block.size_bytes);
    if (block.touched_bytes >= 0) {
      out->text(", filled ");
      put_size(out, block.touched_bytes);
    }
    out->text(", ").number(block.age_ms / 1000).text(".");
    out->padded(static_cast<uint64_t>(std::max<int64_t>(block.age_ms, 0) % 1000 / 100), 1);
    out->text(" s old");
    if (block.module[0] != '\0') {
      out->text(", by ");
      put_module(out, block.module, sizeof(block.module));
    }
    out->end_line();
  }
}

void put_neighbour_list(LineBuffer* out, const Facts& facts) {
  if (facts.neighbours == 0) return;
  const NeighbourRecord* all = facts.refusal.neighbours;
  uint32_t order[kNeighbourSlots];
  order_by(order, facts.neighbours, [&](uint32_t i) { return all[i].resident_bytes; });
  out->text("Other processes on the same limit:").end_line();
  for (uint32_t i = 0; i < facts.neighbours; ++i) {
    const NeighbourRecord& neighbour = all[order[i]];
    out->text("  ").number(neighbour.pid).text(" ").name(neighbour.name).text(" ");
    put_size(out, neighbour.resident_bytes);
    out->text(neighbour.guarded != 0 ? ", guarded" : "").end_line();
  }
}

const char* account_name(uint32_t account) {
  switch (static_cast<GpuAccount>(account)) {
    case GpuAccount::kDevice:
      return "plain";
    case GpuAccount::kArray:
      return "arrays";
    case GpuAccount::kPool:
      return "pools";
    case GpuAccount::kVirtual:
      return "virtual";
    case GpuAccount::kGraph:
      return "graphs";
    case GpuAccount::kContext:
      return "context";
    case GpuAccount::kManaged:
      return "managed beside";
  }
  return "";
}

// The cards that the process used, as they are now or were at its end.
void put_gpus(LineBuffer* out, const FlightHeader& header) {
  bool first = true;
  for (uint32_t i = 0; i < kGpuSlots; ++i) {
    const GpuRecord& gpu = header.gpus[i];
    if (gpu.total_bytes.load() <= 0) continue;
    if (first) out->text("GPU memory of this process:").end_line();
    first = false;
    out->text("  GPU ").number(i).text(" ").name(gpu.name).text(": ");
    put_size(out, gpu.held_bytes.load());
    out->text(", at most ");
    put_size(out, gpu.peak_bytes.load());
    out->text(", budget ");
    if (gpu.budget_bytes.load() == INT64_MAX) {
      out->text("auto");
    } else {
      put_size(out, gpu.budget_bytes.load());
    }
    for (uint32_t account = 0; account <= static_cast<uint32_t>(GpuAccount::kManaged); ++account) {
      const int64_t bytes = gpu.by_account[account].load();
      if (bytes <= 0) continue;
      out->text("; ").text(account_name(account)).text(" ");
      put_size(out, bytes);
    }
    out->end_line();
  }
}

}  // namespace

void put_numbers(LineBuffer* out, const FlightHeader& header, const Facts& facts) {
  put_event(out, header, facts.refusal);
  put_request_numbers(out, facts.refusal);
  put_levels(out, facts);
  put_blocks(out, facts);
  put_neighbour_list(out, facts);
  put_gpus(out, header);
}

}  // namespace oomguard::record
