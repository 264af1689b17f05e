#include "shim/children/elf_file.h"

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "collector/probe/syscall.h"
#include "shim/children/policy.h"

namespace oomguard::children {
namespace {

#if defined(__x86_64__)
constexpr Elf64_Half kMachine = EM_X86_64;
#else
constexpr Elf64_Half kMachine = EM_AARCH64;
#endif
constexpr std::string_view kPythonSymbol = "Py_BytesMain";
constexpr std::string_view kPythonLibrary = "libpython";
constexpr size_t kMaxProgramHeaders = 64;
constexpr size_t kMaxLoads = 8;
constexpr size_t kMaxDynamic = 512;
constexpr uint32_t kMaxChain = 4096;

struct Load {
  uint64_t address, offset, size;
};

struct Image {
  int fd = -1;
  size_t load_count = 0;
  Load loads[kMaxLoads];
  uint64_t dynamic_offset = 0;
  uint64_t dynamic_size = 0;

  template <typename T>
  bool read_at(uint64_t offset, T* out) const {
    return sys::pread(fd, out, sizeof(T), static_cast<int64_t>(offset)) ==
           static_cast<long>(sizeof(T));
  }
  // Reads what the loader would map at `address`.
  template <typename T>
  bool read_mapped(uint64_t address, T* out) const {
    for (size_t i = 0; i < load_count; ++i) {
      const Load& load = loads[i];
      if (address >= load.address && address - load.address < load.size) {
        return read_at(load.offset + (address - load.address), out);
      }
    }
    return false;
  }
};

struct Dynamic {
  uint64_t strings = 0, symbols = 0, gnu_hash = 0;
};

bool is_glibc_loader(const Image& image, uint64_t offset) {
  char name[256] = {};
  if (sys::pread(image.fd, name, sizeof(name) - 1, static_cast<int64_t>(offset)) <= 0) return false;
  return basename(std::string_view(name)).starts_with("ld-linux");
}

bool name_starts_with(const Image& image, uint64_t address, std::string_view prefix, bool whole) {
  char text[16] = {};
  static_assert(kPythonSymbol.size() + 1 <= sizeof(text));
  if (!image.read_mapped(address, &text)) return false;
  if (std::string_view(text, prefix.size()) != prefix) return false;
  return !whole || text[prefix.size()] == '\0';
}

Dynamic read_dynamic(const Image& image) {
  Dynamic out;
  for (size_t i = 0; i < kMaxDynamic && i * sizeof(Elf64_Dyn) < image.dynamic_size; ++i) {
    Elf64_Dyn entry;
    if (!image.read_at(image.dynamic_offset + i * sizeof(entry), &entry)) break;
    if (entry.d_tag == DT_NULL) break;
    if (entry.d_tag == DT_STRTAB) out.strings = entry.d_un.d_ptr;
    if (entry.d_tag == DT_SYMTAB) out.symbols = entry.d_un.d_ptr;
    if (entry.d_tag == DT_GNU_HASH) out.gnu_hash = entry.d_un.d_ptr;
  }
  return out;
}

bool needs_python(const Image& image, const Dynamic& dynamic) {
  for (size_t i = 0; i < kMaxDynamic && i * sizeof(Elf64_Dyn) < image.dynamic_size; ++i) {
    Elf64_Dyn entry;
    if (!image.read_at(image.dynamic_offset + i * sizeof(entry), &entry)) break;
    if (entry.d_tag == DT_NULL) break;
    if (entry.d_tag == DT_NEEDED &&
        name_starts_with(image, dynamic.strings + entry.d_un.d_val, kPythonLibrary, false)) {
      return true;
    }
  }
  return false;
}

// A look-up in DT_GNU_HASH: a handful of reads instead of thousands of symbols. An undefined symbol
// is not in that table, so a program that merely calls Py_BytesMain is found by its NEEDED entry.
bool exports_python(const Image& image, const Dynamic& dynamic) {
  struct {
    uint32_t buckets, first_symbol, bloom_words, bloom_shift;
  } table;
  if (dynamic.gnu_hash == 0 || !image.read_mapped(dynamic.gnu_hash, &table)) return false;
  if (table.buckets == 0) return false;
  const uint32_t hash = gnu_hash(kPythonSymbol);
  const uint64_t buckets = dynamic.gnu_hash + sizeof(table) + uint64_t{table.bloom_words} * 8;
  const uint64_t chains = buckets + uint64_t{table.buckets} * 4;
  uint32_t index = 0;
  if (!image.read_mapped(buckets + uint64_t{hash % table.buckets} * 4, &index)) return false;
  if (index < table.first_symbol) return false;
  for (uint32_t step = 0; step < kMaxChain; ++step, ++index) {
    uint32_t chain = 0;
    Elf64_Sym symbol;
    if (!image.read_mapped(chains + uint64_t{index - table.first_symbol} * 4, &chain)) return false;
    if ((chain | 1) == (hash | 1) &&
        image.read_mapped(dynamic.symbols + uint64_t{index} * sizeof(symbol), &symbol) &&
        name_starts_with(image, dynamic.strings + symbol.st_name, kPythonSymbol, true)) {
      return true;
    }
    if (chain & 1) return false;
  }
  return false;
}

void read_program_headers(const Elf64_Ehdr& header, Image* image, ElfFacts* out) {
  for (size_t i = 0; i < header.e_phnum && i < kMaxProgramHeaders; ++i) {
    Elf64_Phdr segment;
    if (!image->read_at(header.e_phoff + i * sizeof(segment), &segment)) return;
    if (segment.p_type == PT_INTERP) {
      out->interpreted = true;
      out->glibc = is_glibc_loader(*image, segment.p_offset);
    } else if (segment.p_type == PT_LOAD && image->load_count < kMaxLoads) {
      image->loads[image->load_count++] = {segment.p_vaddr, segment.p_offset, segment.p_filesz};
    } else if (segment.p_type == PT_DYNAMIC) {
      image->dynamic_offset = segment.p_offset;
      image->dynamic_size = segment.p_filesz;
    }
  }
}

}  // namespace

bool read_elf(int fd, ElfFacts* out) noexcept {
  *out = {};
  Image image;
  image.fd = fd;
  Elf64_Ehdr header;
  unsigned char ident[EI_NIDENT];
  if (!image.read_at(0, &ident) || memcmp(ident, ELFMAG, SELFMAG) != 0) return false;
  // A 32-bit header is shorter; whatever cannot be read as a whole one of ours is not native.
  if (!image.read_at(0, &header) || ident[EI_CLASS] != ELFCLASS64 ||
      ident[EI_DATA] != ELFDATA2LSB || header.e_machine != kMachine ||
      header.e_phentsize != sizeof(Elf64_Phdr)) {
    return true;
  }
  out->native = true;
  read_program_headers(header, &image, out);
  if (image.dynamic_size == 0) return true;
  const Dynamic dynamic = read_dynamic(image);
  out->python = needs_python(image, dynamic) || exports_python(image, dynamic);
  return true;
}

}  // namespace oomguard::children
