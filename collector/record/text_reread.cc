#include "collector/record/text_reread.h"

#include "collector/options/options.h"
#include "collector/record/line_buffer.h"

namespace oomguard::record {
namespace {

LineBuffer& put_size(LineBuffer* out, int64_t bytes) {
  char text[24];
  options::format_bytes(bytes, text, sizeof text);
  return out->text(text);
}

}  // namespace

size_t render_reread(const FlightHeader& header, char* out, size_t capacity) {
  LineBuffer line(out, capacity);
  const RereadRecord& seen = header.reread;
  if (seen.times.load(std::memory_order_acquire) == 0) return line.finish();
  line.text("oomguard: warning: process ").number(header.pid).text(" reads ").name(seen.file);
  if (seen.files > 1) {
    line.text(" and ").number(seen.files - 1).text(seen.files > 2 ? " more files" : " more file");
  }
  line.text(" from disk over and over, because what is mapped (");
  put_size(&line, seen.mapped_bytes).text(") does not fit into ");
  if (seen.limit_bytes != INT64_MAX) {
    line.text("what the limit of ");
    put_size(&line, seen.limit_bytes).text(" leaves");
  } else {
    line.text("the memory that is left");
  }
  line.text(": in ").number(seen.duration_ms / 1000).text(".");
  line.number(seen.duration_ms % 1000 / 100).text(" s ");
  if (seen.read_again_bytes >= 0) {
    put_size(&line, seen.read_again_bytes).text(" were read again, with ");
  }
  line.number(static_cast<int64_t>(seen.major_faults)).text(" major page faults.");
  line.text(" It is slow, but nothing is refused for it.").end_line();
  return line.finish();
}

}  // namespace oomguard::record
