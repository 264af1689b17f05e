#include "shim/trace/unwind_table.h"

#include "shim/trace/registers.h"

namespace oomguard::trace {
namespace {

constexpr uint8_t kOmitted = 0xff;
constexpr uint8_t kTableOfOffsets = 0x3b;  // signed 32 bits, from the header on: what linkers write

// One entry of .eh_frame: its bytes, and where the field that tells the two kinds apart lies.
struct Entry {
  uintptr_t id_at;
  uint32_t id;
  uintptr_t start;  // behind that field
  uintptr_t end;
};

bool read_entry(MappedRange& module, uintptr_t at, Entry* out) {
  ByteReader in(module, at, module.end());
  uint64_t length = in.get<uint32_t>();
  if (length == 0xffffffff) length = in.get<uint64_t>();
  out->id_at = in.at();
  out->id = in.get<uint32_t>();
  out->start = in.at();
  if (!in.ok() || length < 4 || length > module.end() - out->id_at) return false;
  out->end = out->id_at + length;
  return true;
}

// The last function that begins at or before the address. 0: none.
uintptr_t search(MappedRange& module, uintptr_t header, uintptr_t address) {
  ByteReader in(module, header, module.end());
  const uint8_t version = in.get<uint8_t>();
  const uint8_t frame_encoding = in.get<uint8_t>();
  const uint8_t count_encoding = in.get<uint8_t>();
  const uint8_t table_encoding = in.get<uint8_t>();
  if (version != 1 || table_encoding != kTableOfOffsets || count_encoding == kOmitted) return 0;
  if (frame_encoding != kOmitted) in.encoded(frame_encoding, header);
  const uint64_t count = in.encoded(count_encoding, header);
  const uintptr_t table = in.at();
  struct Offsets {
    int32_t function, description;
  } found{};
  if (!in.ok() || count == 0 || count > (module.end() - table) / sizeof found) return 0;
  uint64_t low = 0;
  uint64_t high = count;
  bool any = false;
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    Offsets entry{};
    if (!module.read(table + middle * sizeof entry, &entry, sizeof entry)) return 0;
    if (header + static_cast<uintptr_t>(intptr_t{entry.function}) <= address) {
      found = entry;
      any = true;
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return any ? header + static_cast<uintptr_t>(intptr_t{found.description}) : 0;
}

struct Common {
  bool sized = false;  // the functions' descriptions carry a block of their own before the program
};

bool read_common(MappedRange& module, uintptr_t at, FrameDescription* out, Common* common) {
  Entry entry;
  if (!read_entry(module, at, &entry) || entry.id != 0) return false;
  ByteReader in(module, entry.start, entry.end);
  const uint8_t version = in.get<uint8_t>();
  if (version != 1 && version != 3) return false;
  char augmentation[8] = {};
  for (size_t i = 0;; ++i) {
    if (i == sizeof augmentation) return false;
    augmentation[i] = static_cast<char>(in.get<uint8_t>());
    if (augmentation[i] == '\0') break;
  }
  out->code_factor = in.uleb();
  out->data_factor = in.sleb();
  const uint64_t column = version == 1 ? in.get<uint8_t>() : in.uleb();
  if (column != kReturnRegister) return false;
  out->encoding = 0;
  out->is_signal_frame = false;
  uintptr_t program = in.at();
  for (const char* c = augmentation; *c != '\0'; ++c) {
    switch (*c) {
      case 'z': {
        const uint64_t size = in.uleb();
        program = in.at() + size;
        if (size > entry.end - in.at()) return false;
        common->sized = true;
        break;
      }
      case 'R': out->encoding = in.get<uint8_t>(); break;
      case 'P': {  // the function that handles exceptions; it may be named indirectly
        const uint8_t encoding = in.get<uint8_t>();
        in.encoded(encoding & 0x0f);
        break;
      }
      case 'L': in.get<uint8_t>(); break;
      case 'S': out->is_signal_frame = true; break;
      case 'B': break;  // aarch64: which key return addresses are signed with
      case 'G': break;  // aarch64: tagged stack
      default: return false;
    }
  }
  out->common_start = program;
  out->common_end = entry.end;
  return in.ok() && program <= entry.end;
}

}  // namespace

bool find_description(MappedRange& module, uintptr_t header, uintptr_t address,
                      FrameDescription* out) noexcept {
  const uintptr_t at = search(module, header, address);
  Entry entry;
  if (at == 0 || !read_entry(module, at, &entry) || entry.id == 0) return false;
  Common common;
  if (!read_common(module, entry.id_at - entry.id, out, &common)) return false;
  ByteReader in(module, entry.start, entry.end);
  out->function = in.encoded(out->encoding);
  const uintptr_t size = in.encoded(out->encoding & 0x0f);
  if (!in.ok() || address < out->function || address - out->function >= size) return false;
  if (common.sized) in.skip(in.uleb());
  out->own_start = in.at();
  out->own_end = entry.end;
  return in.ok();
}

}  // namespace oomguard::trace
