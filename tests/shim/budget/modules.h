// Modules that ask for memory: small 64-bit ELF files with a .comment section, right ones and
// broken ones, and files mapped executable as the dynamic linker maps them.
#pragma once

#include <elf.h>
#include <string.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/shim/budget/harness.h"

namespace oomguard::test {

struct ElfParts {
  Elf64_Ehdr header{};
  std::string names;               // .shstrtab
  std::string comment;             // .comment
  std::vector<Elf64_Shdr> sections;

  std::string bytes() const {
    std::string out(reinterpret_cast<const char*>(&header), sizeof header);
    out += names + comment;
    for (const Elf64_Shdr& section : sections) {
      out.append(reinterpret_cast<const char*>(&section), sizeof section);
    }
    return out;
  }
};

// Header, section names, comment, then three section headers: none, .comment, .shstrtab.
inline ElfParts elf_with_comment(const std::string& comment) {
  ElfParts elf;
  elf.names = std::string("\0.comment\0.shstrtab\0", 20);
  elf.comment = comment;
  memcpy(elf.header.e_ident, ELFMAG, SELFMAG);
  elf.header.e_ident[EI_CLASS] = ELFCLASS64;
  elf.header.e_ident[EI_DATA] = ELFDATA2LSB;
  elf.header.e_type = ET_DYN;
  elf.header.e_shentsize = sizeof(Elf64_Shdr);
  elf.header.e_shnum = 3;
  elf.header.e_shstrndx = 2;
  elf.header.e_shoff = sizeof(Elf64_Ehdr) + elf.names.size() + comment.size();
  elf.sections.resize(3);
  elf.sections[1].sh_name = 1;
  elf.sections[1].sh_type = SHT_PROGBITS;
  elf.sections[1].sh_offset = sizeof(Elf64_Ehdr) + elf.names.size();
  elf.sections[1].sh_size = comment.size();
  elf.sections[2].sh_name = 10;
  elf.sections[2].sh_type = SHT_STRTAB;
  elf.sections[2].sh_offset = sizeof(Elf64_Ehdr);
  elf.sections[2].sh_size = elf.names.size();
  return elf;
}

inline const std::string kRustComment = std::string("GCC: (Debian 12.2.0) 12.2.0\0", 28) +
                                        "rustc version 1.75.0 (82e1608df 2023-12-21)" + '\0';

// An address inside of a module at `path`; its folders are made. 0 where it cannot be mapped.
inline uintptr_t map_module(const std::string& path, std::string bytes = "") {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  bytes.resize(std::max<size_t>(bytes.size(), 8192));
  write_file(path, bytes);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void* mapped = mmap(nullptr, bytes.size(), PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
  close(fd);
  return mapped == MAP_FAILED ? 0 : reinterpret_cast<uintptr_t>(mapped) + 100;
}

}  // namespace oomguard::test
