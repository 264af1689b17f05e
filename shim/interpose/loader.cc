#include "shim/interpose/loader.h"

#include <link.h>
#include <string.h>

#include <cstddef>
#include <cstdint>

namespace oomguard::interpose {
namespace {

// The parts of an object's dynamic section that a lookup by name needs.
class SymbolTable {
 public:
  SymbolTable(const ElfW(Dyn)* entry, uintptr_t bias) noexcept {
    for (; entry->d_tag != DT_NULL; ++entry) {
      // glibc writes addresses here, but the kernel's own object has offsets.
      const uintptr_t value = entry->d_un.d_ptr;
      const uintptr_t address = value < bias ? value + bias : value;
      if (entry->d_tag == DT_SYMTAB) symbols_ = reinterpret_cast<const ElfW(Sym)*>(address);
      if (entry->d_tag == DT_STRTAB) strings_ = reinterpret_cast<const char*>(address);
      if (entry->d_tag == DT_GNU_HASH) hash_ = reinterpret_cast<const uint32_t*>(address);
    }
    bias_ = bias;
  }

  // Null: none of that name is defined here. (Objects without DT_GNU_HASH define nothing of ours.)
  void* find(const char* name) const noexcept {
    if (symbols_ == nullptr || strings_ == nullptr || hash_ == nullptr) return nullptr;
    const uint32_t bucket_count = hash_[0];
    const uint32_t first = hash_[1];
    const uint32_t words = hash_[2];
    if (bucket_count == 0) return nullptr;
    const uint32_t* buckets = hash_ + 4 + words * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
    const uint32_t* chain = buckets + bucket_count;
    const uint32_t wanted = hash_of(name);
    uint32_t index = buckets[wanted % bucket_count];
    if (index < first) return nullptr;
    for (;; ++index) {
      const uint32_t seen = chain[index - first];
      if ((seen | 1) == (wanted | 1) && is(symbols_[index], name)) {
        return reinterpret_cast<void*>(bias_ + symbols_[index].st_value);
      }
      if ((seen & 1) != 0) return nullptr;
    }
  }

 private:
  static uint32_t hash_of(const char* name) noexcept {
    uint32_t hash = 5381;
    for (; *name != '\0'; ++name) hash = hash * 33 + static_cast<unsigned char>(*name);
    return hash;
  }
  bool is(const ElfW(Sym)& symbol, const char* name) const noexcept {
    return symbol.st_shndx != SHN_UNDEF && ELF64_ST_TYPE(symbol.st_info) == STT_FUNC &&
           strcmp(strings_ + symbol.st_name, name) == 0;
  }

  const ElfW(Sym)* symbols_ = nullptr;
  const char* strings_ = nullptr;
  const uint32_t* hash_ = nullptr;
  uintptr_t bias_ = 0;
};

struct Search {
  bool behind = false;  // this library has been passed
  void* dlsym = nullptr;
  void* dlvsym = nullptr;
  void* dlopen = nullptr;
};

bool holds(const dl_phdr_info& info, uintptr_t address) noexcept {
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info.dlpi_phdr[i];
    const uintptr_t start = info.dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_LOAD && address >= start && address < start + segment.p_memsz)
      return true;
  }
  return false;
}

// In the order in which they were loaded, which is that of RTLD_NEXT.
int look(dl_phdr_info* info, size_t, void* data) noexcept {
  auto& search = *static_cast<Search*>(data);
  if (!search.behind) {
    search.behind = holds(*info, reinterpret_cast<uintptr_t>(&look));
    return 0;
  }
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_DYNAMIC) continue;
    const SymbolTable symbols(
        reinterpret_cast<const ElfW(Dyn)*>(info->dlpi_addr + segment.p_vaddr), info->dlpi_addr);
    if (search.dlsym == nullptr) search.dlsym = symbols.find("dlsym");
    if (search.dlvsym == nullptr) search.dlvsym = symbols.find("dlvsym");
    if (search.dlopen == nullptr) search.dlopen = symbols.find("dlopen");
  }
  return search.dlsym != nullptr && search.dlvsym != nullptr && search.dlopen != nullptr ? 1 : 0;
}

}  // namespace

void* next_dlsym(void* handle, const char* name) noexcept {
  if (oomguard_next_dlsym == nullptr) oomguard_resolve_loader();
  return oomguard_next_dlsym(handle, name);
}

}  // namespace oomguard::interpose

constinit decltype(oomguard_next_dlsym) oomguard_next_dlsym = nullptr;
constinit decltype(oomguard_next_dlvsym) oomguard_next_dlvsym = nullptr;
constinit decltype(oomguard_next_dlopen) oomguard_next_dlopen = nullptr;

void oomguard_resolve_loader() noexcept {
  oomguard::interpose::Search search;
  dl_iterate_phdr(oomguard::interpose::look, &search);
  oomguard_next_dlvsym = reinterpret_cast<decltype(oomguard_next_dlvsym)>(search.dlvsym);
  oomguard_next_dlopen = reinterpret_cast<decltype(oomguard_next_dlopen)>(search.dlopen);
  oomguard_next_dlsym = reinterpret_cast<decltype(oomguard_next_dlsym)>(search.dlsym);
}
