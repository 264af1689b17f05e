#include "shim/core/cells.h"

#include <string.h>

#include "collector/record/mask.h"
#include "shim/core/copy_text.h"

namespace oomguard::cells {

void begin(record::FlightHeader* header, uint32_t number, const char* source) noexcept {
  char* const out = header->cell_source;
  constexpr size_t kSize = sizeof header->cell_source;
  // Nothing of an earlier cell stays behind a shorter one.
  memset(out, 0, kSize);
  size_t at = 0;
  for (const char* line = source; *line != '\0' && at + 1 < kSize;) {
    const size_t length = strcspn(line, "\n");
    at += record::mask_command(line, length, out + at, kSize - at);
    line += length;
    if (*line != '\n') break;
    if (at + 1 < kSize) out[at++] = '\n';
    ++line;
  }
  out[at] = '\0';
  header->cell.store(number, std::memory_order_relaxed);
}

void name(record::FlightHeader* header, uint32_t number, const char* file) noexcept {
  record::CellRecord& cell = header->cells[number % record::kCellSlots];
  copy_end(cell.file, file);
  cell.number = number;
}

}  // namespace oomguard::cells
