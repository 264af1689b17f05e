// Last step of installing liboomguard.so: its program headers are moved to the end of the file.
//
// The dynamic linker maps what the program headers name without a look at the file's size, so that
// a file that was cut off (a full disk, an interrupted copy) ends the process by SIGBUS before any
// code of the library runs. The table itself is read, and a file that is too short for it "cannot
// be preloaded ...: ignored". So it stands last, behind everything else that is loaded. A copy
// stays where linkers put it, behind the ELF header (shim/budget/resident.cc).
//
//   headers_last LIBRARY
#include <elf.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

namespace {

// Nothing is to be done where it stands elsewhere already. False: it is no 64-bit ELF file, or its
// tables are not in it.
bool move(std::string* file) {
  Elf64_Ehdr header;
  if (file->size() < sizeof header) return false;
  memcpy(&header, file->data(), sizeof header);
  const size_t size = size_t{header.e_phnum} * sizeof(Elf64_Phdr);
  if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_phentsize != sizeof(Elf64_Phdr) || file->size() - sizeof header < size) {
    return false;
  }
  if (header.e_phoff != sizeof header) return true;
  const std::string table = file->substr(sizeof header, size);
  size_t page = 1;
  for (size_t at = 0; at < size; at += sizeof(Elf64_Phdr)) {
    Elf64_Phdr entry;
    memcpy(&entry, table.data() + at, sizeof entry);
    if (entry.p_type == PT_LOAD) page = std::max<size_t>(page, entry.p_align);
  }
  // On a page of its own: the linker takes a table on the last page of a segment for mapped, and
  // clears the rest of that page.
  file->resize((file->size() + page - 1) / page * page);
  header.e_phoff = file->size();
  memcpy(file->data(), &header, sizeof header);
  *file += table;
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  std::ifstream in(argv[1], std::ios::binary);
  std::string file((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!in || !move(&file)) {
    fprintf(stderr, "%s: not a library as linkers make it\n", argv[1]);
    return 1;
  }
  std::ofstream out(argv[1], std::ios::binary | std::ios::in);
  out.write(file.data(), static_cast<std::streamsize>(file.size()));
  out.close();
  return out ? 0 : 1;
}
