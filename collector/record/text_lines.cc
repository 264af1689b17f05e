// The lines of code that hold most, as a report names them.
#include <cstring>

#include "collector/record/text_parts.h"

namespace oomguard::record {
namespace {

// Code that is not Python has neither.
bool is_module(const HolderRecord& holder) {
  return holder.line == 0 && holder.function[0] == '\0';
}

// A cell is named as the notebook names it, anything else by its file without the folders.
void put_place(LineBuffer* out, const HolderRecord& holder) {
  const char* slash = strrchr(holder.file, '/');
  const char* file = slash != nullptr ? slash + 1 : holder.file;
  const size_t capacity = sizeof(holder.file) - static_cast<size_t>(file - holder.file);
  if (strncmp(file, "cell [", 6) == 0) {
    out->name(file, capacity).text(" line ").number(holder.line);
  } else if (is_module(holder)) {
    put_module(out, file, capacity);
    return;
  } else {
    out->name(file, capacity);
    if (holder.line != 0) out->text(":").number(holder.line);
  }
  if (holder.function[0] != '\0' && strcmp(holder.function, "<module>") != 0) {
    out->text(" ").name(holder.function, sizeof(holder.function));
  }
  if (holder.in_thread != 0) out->text(" (in a thread)");
}

}  // namespace

void put_lines_of_code(LineBuffer* out, const Facts& facts, uint32_t shown) {
  const HolderRecord* all = facts.refusal.holders;
  uint32_t order[kHolderSlots];
  // A person's own lines before those of libraries, but not before a library's that holds nearly
  // all.
  const int64_t worth_it = own_bytes(facts.refusal) / 20;
  order_by(order, facts.holders, [&](uint32_t i) {
    const int64_t bytes = std::min(std::max<int64_t>(all[i].bytes, 0), INT64_MAX / 2);
    return all[i].own_code != 0 && bytes >= worth_it ? bytes + INT64_MAX / 2 : bytes;
  });
  for (uint32_t i = 0; i < facts.holders && i < shown; ++i) {
    const HolderRecord& holder = all[order[i]];
    if (holder.file[0] == '\0' || holder.bytes < facts.unit.bytes / 20) continue;
    out->text(i == 0 ? "Lines: " : "       ");
    put_place(out, holder);
    out->text(" \u2014 ");
    put_bytes(out, facts.unit, holder.bytes);
    out->end_line();
  }
}

}  // namespace oomguard::record
