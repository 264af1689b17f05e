#include "shim/trace/program_headers.h"

#include <cstring>

#include "collector/probe/syscall.h"
#include "shim/trace/mapped_bytes.h"

namespace oomguard::trace {
namespace {

constexpr uint64_t kPage = 4096;
constexpr size_t kMaxNotes = 64;

bool fits(const Elf64_Ehdr& header) {
  return memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_CLASS] == ELFCLASS64 &&
         header.e_phentsize == sizeof(Elf64_Phdr) && header.e_phnum > 0 &&
         header.e_phnum <= kMaxProgramHeaders;
}

// What stands where the headers would be is believed where it describes this mapping.
bool describes(const ProgramHeaders& headers, uintptr_t start, uintptr_t end) {
  uintptr_t bias = 0;
  if (!load_bias(start, headers, &bias)) return false;
  for (size_t i = 0; i < headers.count; ++i) {
    const Elf64_Phdr& entry = headers.entries[i];
    if (entry.p_type != PT_LOAD) continue;
    if (entry.p_memsz < entry.p_filesz || entry.p_vaddr + entry.p_memsz < entry.p_vaddr ||
        entry.p_vaddr + bias < start || entry.p_vaddr + bias >= end) {
      return false;
    }
  }
  return true;
}

bool from_file(const char* path, const Elf64_Ehdr& mapped, ProgramHeaders* out) {
  const int fd = sys::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return false;
  Elf64_Ehdr header;
  const size_t size = sizeof(Elf64_Phdr) * mapped.e_phnum;
  const bool read = sys::pread(fd, &header, sizeof header, 0) == static_cast<long>(sizeof header) &&
                    memcmp(&header, &mapped, sizeof header) == 0 &&
                    sys::pread(fd, out->entries, size, static_cast<int64_t>(mapped.e_phoff)) ==
                        static_cast<long>(size);
  sys::close(fd);
  return read;
}

bool find_in_notes(MappedRange& object, uintptr_t at, uint64_t size, BuildId* out) {
  ByteReader in(object, at, size < object.end() - at ? at + size : object.end());
  for (size_t i = 0; i < kMaxNotes && !in.at_end(); ++i) {
    const uint32_t name_size = in.get<uint32_t>();
    const uint32_t content_size = in.get<uint32_t>();
    const uint32_t type = in.get<uint32_t>();
    const uint32_t name = name_size == 4 ? in.get<uint32_t>() : 0;
    if (name_size != 4) in.skip((uint64_t{name_size} + 3) & ~uint64_t{3});
    if (type == NT_GNU_BUILD_ID && memcmp(&name, "GNU", 4) == 0) {
      out->address = in.at();
      out->size = content_size < sizeof out->bytes ? content_size : sizeof out->bytes;
      return in.ok() && out->size > 0 && object.read(in.at(), out->bytes, out->size);
    }
    in.skip((uint64_t{content_size} + 3) & ~uint64_t{3});
  }
  return false;
}

}  // namespace

bool load_bias(uintptr_t start, const ProgramHeaders& headers, uintptr_t* out) noexcept {
  const Elf64_Phdr* first = headers.first(PT_LOAD);
  if (first == nullptr) return false;
  *out = start - (first->p_vaddr & ~(kPage - 1));
  return true;
}

bool read_program_headers(uintptr_t start, uintptr_t end, const char* path,
                          ProgramHeaders* out) noexcept {
  MappedRange object(start, end);
  Elf64_Ehdr header;
  if (!object.read(start, &header, sizeof header) || !fits(header)) return false;
  out->count = header.e_phnum;
  uintptr_t at;
  if (!__builtin_add_overflow(start, header.e_phoff, &at) &&
      object.read(at, out->entries, sizeof(Elf64_Phdr) * out->count) &&
      describes(*out, start, end)) {
    return true;
  }
  return path != nullptr && from_file(path, header, out) && describes(*out, start, end);
}

bool read_build_id(uintptr_t start, uintptr_t end, uintptr_t bias, const ProgramHeaders& headers,
                   BuildId* out) noexcept {
  *out = {};
  MappedRange object(start, end);
  for (size_t i = 0; i < headers.count; ++i) {
    const Elf64_Phdr& entry = headers.entries[i];
    const uintptr_t at = bias + entry.p_vaddr;
    if (entry.p_type != PT_NOTE || !object.contains(at, 1)) continue;
    if (find_in_notes(object, at, entry.p_memsz, out)) return true;
  }
  return false;
}

}  // namespace oomguard::trace
