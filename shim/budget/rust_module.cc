#include "shim/budget/rust_module.h"

#include <elf.h>
#include <string.h>

#include "collector/probe/syscall.h"

namespace oomguard::budget {
namespace {

constexpr uint64_t kMaxSection = 65536;
constexpr size_t kMaxText = 32;

class Elf {
 public:
  explicit Elf(const char* path) noexcept : fd_(sys::open(path, O_RDONLY)) {}
  ~Elf() {
    if (fd_ >= 0) sys::close(fd_);
  }
  Elf(const Elf&) = delete;
  Elf& operator=(const Elf&) = delete;

  // The first section of that name holds the text, which is shorter than kMaxText.
  bool section_holds(const char* name, uint32_t type, const char* text) const noexcept {
    Elf64_Ehdr header;
    Elf64_Shdr names;
    if (!read(&header, 0) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_shentsize != sizeof(Elf64_Shdr) ||
        !read(&names, header.e_shoff + header.e_shstrndx * sizeof names)) {
      return false;
    }
    for (uint16_t i = 0; i < header.e_shnum; ++i) {
      Elf64_Shdr section;
      if (!read(&section, header.e_shoff + i * sizeof section)) return false;
      // A file has one of the name; a hostile one gets no more reads than that.
      if (section.sh_type == type && is_named(section, names, name)) return holds(section, text);
    }
    return false;
  }

 private:
  template <typename T>
  bool read(T* out, uint64_t offset) const noexcept {
    return fd_ >= 0 && sys::pread(fd_, out, sizeof *out, static_cast<int64_t>(offset)) ==
                           static_cast<long>(sizeof *out);
  }

  bool is_named(const Elf64_Shdr& section, const Elf64_Shdr& names,
                const char* name) const noexcept {
    char found[10] = {};
    const size_t length = strlen(name);
    if (length >= sizeof found || section.sh_name >= names.sh_size) return false;
    return sys::pread(fd_, found, length,
                      static_cast<int64_t>(names.sh_offset + section.sh_name)) ==
               static_cast<long>(length) &&
           memcmp(found, name, length) == 0;
  }

  bool holds(const Elf64_Shdr& section, const char* text) const noexcept {
    const size_t length = strlen(text);
    char buffer[256 + kMaxText];
    size_t carried = 0;
    const uint64_t size = section.sh_size < kMaxSection ? section.sh_size : kMaxSection;
    for (uint64_t done = 0; done < size;) {
      const size_t want = size - done < 256 ? static_cast<size_t>(size - done) : 256;
      const long got = sys::pread(fd_, buffer + carried, want,
                                  static_cast<int64_t>(section.sh_offset + done));
      if (got <= 0) return false;
      const size_t have = carried + static_cast<size_t>(got);
      if (memmem(buffer, have, text, length) != nullptr) return true;
      carried = have < length ? have : length;
      memmove(buffer, buffer + have - carried, carried);
      done += static_cast<uint64_t>(got);
    }
    return false;
  }

  int fd_;
};

}  // namespace

bool made_by_rust(const char* path) noexcept {
  return Elf(path).section_holds(".comment", SHT_PROGBITS, "rustc version");
}

bool unwinds(const char* path) noexcept {
  return Elf(path).section_holds(".dynstr", SHT_STRTAB, "_Unwind_RaiseException");
}

}  // namespace oomguard::budget
