#include "collector/record/text.h"

#include <cstring>
#include <string_view>

#include "collector/options/options.h"
#include "collector/probe/probe.h"
#include "collector/record/text_parts.h"

namespace oomguard::record {
namespace {

using probe::LimitKind;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int kWhereLines = 4;
constexpr char kVariables[] = "variables: ";  // begins the line of `where` that names the largest
constexpr uint32_t kShownBlocks = 3;
constexpr uint32_t kShownNeighbours = 3;
constexpr uint32_t kShownLines = 3;

LimitKind kind_of(const LevelRecord& level) { return static_cast<LimitKind>(level.kind); }

bool is_group(const LevelRecord& level) {
  return kind_of(level) == LimitKind::kCgroupV1 || kind_of(level) == LimitKind::kCgroupV2;
}

struct KnownModule {
  const char* stem;
  const char* library;
};
// File names that a person may not recognise, by how they begin.
constexpr KnownModule kKnownModules[] = {
    {"_multiarray_umath", "numpy"}, {"libtorch", "PyTorch"},     {"libc10", "PyTorch"},
    {"libpython", "Python"},        {"python", "Python"},        {"libarrow", "Arrow"},
    {"_rust", "a Rust module"},     {"libopenblas", "OpenBLAS"}, {"libscipy_openblas", "OpenBLAS"},
};

// How the first line goes on after "oomguard stopped this cell".
const char* reason(const Facts& facts, bool cell) {
  if (facts.limit == nullptr) return " before memory ran out.";
  switch (kind_of(*facts.limit)) {
    case LimitKind::kCgroupV1:
    case LimitKind::kCgroupV2:
      return cell ? " before the container's memory limit would have killed the kernel."
                  : " before the container's memory limit would have killed it.";
    case LimitKind::kMachine:
      return cell ? " before this machine ran out of memory and the kernel was killed."
                  : " before this machine ran out of memory and it was killed.";
    case LimitKind::kRlimitAs:
      return " at the limit on its address space (ulimit -v).";
    case LimitKind::kRlimitData:
      return " at the limit on its data (ulimit -d).";
    case LimitKind::kBudget:
      return " at the memory budget that was set for it.";
    case LimitKind::kGpu:
      return " at the limit on its GPU memory.";
  }
  return " before memory ran out.";
}

void put_first_line(LineBuffer* out, const Facts& facts, Audience audience) {
  const bool cell = audience == Audience::kCell;
  const bool reported = facts.refusal.outcome == static_cast<uint32_t>(Outcome::kReported);
  const bool ended = facts.refusal.outcome == static_cast<uint32_t>(Outcome::kEnded);
  if (facts.refusal.outcome == static_cast<uint32_t>(Outcome::kByDriver)) {
    out->text("The GPU had no memory left for this ").text(cell ? "cell" : "program");
    out->text(cell ? ". Your variables are kept." : ".").end_line();
    return;
  }
  out->text(reported ? "oomguard would have stopped this "
            : ended  ? "oomguard ended this "
                     : "oomguard stopped this ");
  out->text(cell ? "cell" : "program").text(reason(facts, cell));
  if (reported) {
    out->text(" It goes on, because only a report was asked for (OOMGUARD_ON_LIMIT=warn).");
  } else if (cell && !ended) {
    out->text(" Your variables are kept.");
  }
  out->end_line();
}

bool is_for_file(const RefusalRecord& refusal) {
  return refusal.kind == static_cast<uint32_t>(RequestKind::kFileWrite) ||
         refusal.kind == static_cast<uint32_t>(RequestKind::kFileSize);
}

bool is_for_gpu(const RefusalRecord& refusal) {
  return refusal.kind == static_cast<uint32_t>(RequestKind::kGpu);
}

void put_request(LineBuffer* out, const Facts& facts) {
  const RefusalRecord& refusal = facts.refusal;
  if (refusal.kind == static_cast<uint32_t>(RequestKind::kTouch)) {
    out->text("Memory that had been granted earlier was being filled");
  } else {
    out->text("Asked for ");
    put_bytes(out, facts.unit, refusal.request_bytes);
    if (is_for_gpu(refusal)) out->text(" of GPU memory");
    if (refusal.kind == static_cast<uint32_t>(RequestKind::kPinned)) {
      out->text(" of memory that is locked for a GPU");
    }
    if (is_for_file(refusal)) out->text(" in a file that is memory (tmpfs, shared memory)");
    if (refusal.module[0] != '\0') {
      out->text(" (by ");
      put_module(out, refusal.module, sizeof(refusal.module));
      out->text(")");
    }
  }
  if (facts.limit != nullptr) {
    out->text("; limit ");
    put_bytes(out, facts.unit, facts.limit->limit_bytes);
    out->text(" (");
    put_brief_limit_name(out, *facts.limit);
    out->text("), ");
    put_bytes(out, facts.unit, in_use_bytes(*facts.limit));
    out->text(" in use");
  }
  out->text(".").end_line();
}

void put_why_ended(LineBuffer* out, const FlightHeader& header, const RefusalRecord& refusal) {
  if (refusal.outcome != static_cast<uint32_t>(Outcome::kEnded)) return;
  out->text("Why:   no exception could be raised in time");
  if (header.ended_because[0] != '\0') {
    out->text("; ").name(header.ended_because, sizeof(header.ended_because));
  }
  out->text(".").end_line();
}

// The lines of code, or the line of variables.
void put_where(LineBuffer* out, const RefusalRecord& refusal, bool variables) {
  const char* at = refusal.where;
  const char* end = at + strnlen(at, sizeof(refusal.where));
  for (int line = 0; at < end && line < kWhereLines; ++line) {
    const auto* newline = static_cast<const char*>(memchr(at, '\n', static_cast<size_t>(end - at)));
    const char* stop = newline != nullptr ? newline : end;
    const size_t size = static_cast<size_t>(stop - at);
    if (std::string_view(at, size).starts_with(kVariables) == variables) {
      out->text(line == 0 && !variables ? "At:    " : "       ").name(at, size).end_line();
    }
    at = stop + 1;
  }
}

// " (largest blocks 2.0, 1.5, 0.5 GiB by libtorch_cpu.so)", grouped by the module that asked.
void put_largest_blocks(LineBuffer* out, const Facts& facts) {
  const BlockRecord* blocks = facts.refusal.blocks;
  uint32_t order[kBlockSlots];
  uint32_t shown = order_by(order, facts.blocks, [&](uint32_t i) { return held_bytes(blocks[i]); });
  if (shown > kShownBlocks) shown = kShownBlocks;
  // Blocks that would be shown as nothing say nothing.
  while (shown > 0 && held_bytes(blocks[order[shown - 1]]) < facts.unit.bytes / 20) --shown;
  if (shown == 0) return;
  out->text(shown == 1 ? " (largest block " : " (largest blocks ");
  for (uint32_t i = 0; i < shown; ++i) {
    const BlockRecord& block = blocks[order[i]];
    put_amount(out, facts.unit, held_bytes(block));
    const bool last = i + 1 == shown;
    if (last || strncmp(block.module, blocks[order[i + 1]].module, sizeof(block.module)) != 0) {
      out->text(" ").text(facts.unit.name);
      if (block.module[0] != '\0') {
        out->text(" by ");
        put_module(out, block.module, sizeof(block.module));
      }
    }
    if (!last) out->text(", ");
  }
  out->text(")");
}

void put_neighbours(LineBuffer* out, const Facts& facts) {
  if (facts.neighbours == 0) return;
  const NeighbourRecord* all = facts.refusal.neighbours;
  uint32_t order[kNeighbourSlots];
  order_by(order, facts.neighbours, [&](uint32_t i) { return all[i].resident_bytes; });
  out->text(", other processes on the same limit: ");
  for (uint32_t i = 0; i < facts.neighbours && i < kShownNeighbours; ++i) {
    const NeighbourRecord& neighbour = all[order[i]];
    out->text(i == 0 ? "" : ", ").name(neighbour.name).text(" ").number(neighbour.pid).text(" ");
    put_bytes(out, facts.unit, neighbour.resident_bytes);
  }
  if (facts.neighbours > kShownNeighbours) {
    out->text(" and ").number(facts.neighbours - kShownNeighbours).text(" more");
  }
}

// A child's record in its parent's file: the parent shows the child's exception.
void put_holder(LineBuffer* out, const FlightHeader& header, const RefusalRecord& refusal) {
  if (refusal.pid == header.pid) {
    out->text("this process ");
  } else {
    out->text("child process ").number(refusal.pid).text(" ");
  }
}

void put_held(LineBuffer* out, const FlightHeader& header, const Facts& facts) {
  out->text("Held:  ");
  put_holder(out, header, facts.refusal);
  put_bytes(out, facts.unit, own_bytes(facts.refusal));
  put_largest_blocks(out, facts);
  put_neighbours(out, facts);
  out->end_line();
  put_where(out, facts.refusal, true);
}

}  // namespace

Facts facts_of(const RefusalRecord& refusal) {
  Facts facts{refusal,
              nullptr,
              {kGiB, "GiB"},
              std::min(refusal.level_count, kLevelSlots),
              std::min(refusal.block_count, kBlockSlots),
              std::min(refusal.neighbour_count, kNeighbourSlots),
              std::min(refusal.holder_count, kHolderSlots)};
  for (uint32_t i = 0; i < facts.levels; ++i) {
    if (refusal.levels[i].binds != 0) facts.limit = &refusal.levels[i];
  }
  if (facts.limit != nullptr && facts.limit->limit_bytes < kGiB) facts.unit = {kMiB, "MiB"};
  return facts;
}

void put_amount(LineBuffer* out, Unit unit, int64_t bytes) {
  if (bytes < 0) {
    out->text("-");
    bytes = bytes == INT64_MIN ? INT64_MAX : -bytes;
  }
  if (unit.bytes < kGiB) {  // a tenth of a MiB is noise
    out->number(bytes / unit.bytes + (bytes % unit.bytes >= unit.bytes / 2 ? 1 : 0));
    return;
  }
  int64_t whole = bytes / unit.bytes;
  int64_t tenths = (bytes % unit.bytes * 10 + unit.bytes / 2) / unit.bytes;
  if (tenths == 10) {
    ++whole;
    tenths = 0;
  }
  out->number(whole).text(".").number(tenths);
}

void put_bytes(LineBuffer* out, Unit unit, int64_t bytes) {
  const int64_t shown_from = unit.bytes < kGiB ? unit.bytes : unit.bytes / 10;
  if (bytes > -shown_from && bytes < shown_from) {
    char small[24];
    options::format_bytes(bytes, small, sizeof(small));
    out->text(small);
    return;
  }
  put_amount(out, unit, bytes);
  out->text(" ").text(unit.name);
}

void put_limit_name(LineBuffer* out, const LevelRecord& level) {
  switch (kind_of(level)) {
    case LimitKind::kMachine:
      out->text("this machine's memory");
      return;
    case LimitKind::kRlimitAs:
      out->text("address space, ulimit -v");
      return;
    case LimitKind::kRlimitData:
      out->text("data, ulimit -d");
      return;
    case LimitKind::kBudget:
      out->text("budget");
      return;
    default:
      break;
  }
  if (kind_of(level) == LimitKind::kGpu) {
    out->name(level.path);
    return;
  }
  out->text(is_group(level) ? "container" : "unknown kind");
  if (level.path[0] != '\0') out->text(" ").name(level.path);
}

void put_brief_limit_name(LineBuffer* out, const LevelRecord& level) {
  char path[sizeof(level.path)];
  memcpy(path, level.path, sizeof(path));
  path[sizeof(path) - 1] = '\0';
  constexpr size_t kMost = 40;
  const char* last = strrchr(path, '/');
  if (!is_group(level) || strlen(path) <= kMost || last == nullptr || last == path) {
    put_limit_name(out, level);
  } else {
    out->text("container …").name(last, sizeof(path));
  }
}

void put_module(LineBuffer* out, const char* module, size_t capacity) {
  for (const KnownModule& known : kKnownModules) {
    if (strncmp(module, known.stem, strlen(known.stem)) != 0) continue;
    out->text(known.library);
    if (strcmp(known.library, "Python") == 0) return;
    out->text(": ");
    break;
  }
  out->name(module, capacity);
}

int64_t in_use_bytes(const LevelRecord& level) {
  int64_t bytes = 0;
  if (__builtin_sub_overflow(level.usage_bytes, level.reclaimable_bytes, &bytes)) return 0;
  return std::max<int64_t>(bytes, 0);
}

int64_t own_bytes(const RefusalRecord& refusal) {
  if (is_for_gpu(refusal)) return refusal.recorded_bytes;
  return refusal.anonymous_bytes > 0 ? refusal.anonymous_bytes : refusal.resident_bytes;
}

int64_t held_bytes(const BlockRecord& block) {
  return block.touched_bytes >= 0 ? block.touched_bytes : block.size_bytes;
}

size_t render(const FlightHeader& header, const RefusalRecord& refusal, Audience audience,
              char* out, size_t capacity) {
  LineBuffer lines(out, capacity);
  const Facts facts = facts_of(refusal);
  put_first_line(&lines, facts, audience);
  put_request(&lines, facts);
  put_why_ended(&lines, header, refusal);
  put_where(&lines, refusal, false);
  put_held(&lines, header, facts);
  put_lines_of_code(&lines, facts, kShownLines);
  if (audience == Audience::kFull) {
    put_numbers(&lines, header, facts);
  } else {
    lines.text(is_in_file(header) ? "More:  oomguard report --last      Off: OOMGUARD=0"
                                  : "More:  not recorded, since the folder of sessions "
                                    "(OOMGUARD_DIR) cannot be used      Off: OOMGUARD=0")
        .text(audience == Audience::kCell ? ", then restart the kernel" : "")
        .end_line();
  }
  return lines.finish();
}

size_t render_note(const FlightHeader& header, const RefusalRecord& refusal, char* out,
                   size_t capacity) {
  LineBuffer line(out, capacity);
  const Facts facts = facts_of(refusal);
  if (refusal.kind == static_cast<uint32_t>(RequestKind::kTouch)) {
    line.text("oomguard: memory granted earlier was being filled");
  } else {
    const bool refused = refusal.outcome == static_cast<uint32_t>(Outcome::kRefused);
    line.text(refused ? "oomguard refused " : "oomguard: no room for ");
    put_bytes(&line, facts.unit, refusal.request_bytes);
  }
  if (facts.limit != nullptr) {
    line.text("; ");
    put_bytes(&line, facts.unit, in_use_bytes(*facts.limit));
    line.text(" of ");
    put_bytes(&line, facts.unit, facts.limit->limit_bytes);
    line.text(" in use (");
    put_brief_limit_name(&line, *facts.limit);
    line.text(")");
  }
  line.text("; held: ");
  put_holder(&line, header, refusal);
  put_bytes(&line, facts.unit, own_bytes(refusal));
  put_neighbours(&line, facts);
  line.text(is_in_file(header) ? "; more: oomguard report --last" : "").end_line();
  size_t length = line.finish();
  if (length > 0) out[--length] = '\0';  // a note is one line without its end
  return length;
}

}  // namespace oomguard::record
