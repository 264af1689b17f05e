#include "shim/interpose/loader.h"

#include <link.h>
#include <string.h>

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

}  // namespace

void* next_dlsym(void* handle, const char* name) noexcept {
  if (oomguard_next_dlsym == nullptr) oomguard_resolve_loader();
  return oomguard_next_dlsym(handle, name);
}

}  // namespace oomguard::interpose

constinit decltype(oomguard_next_dlsym) oomguard_next_dlsym = nullptr;
constinit decltype(oomguard_next_dlvsym) oomguard_next_dlvsym = nullptr;
constinit decltype(oomguard_next_dlopen) oomguard_next_dlopen = nullptr;

// Calls nobody: dl_iterate_phdr, too, may be a wrapper that asks for the next one by dlsym.
void oomguard_resolve_loader() noexcept {
  void* next_dlsym = nullptr;
  void* next_dlvsym = nullptr;
  void* next_dlopen = nullptr;
  bool is_behind = false;
  // In the order in which they were loaded, which is that of RTLD_NEXT.
  for (const link_map* at = _r_debug.r_map; at != nullptr; at = at->l_next) {
    if (!is_behind) {
      is_behind = at->l_ld == _DYNAMIC;  // this library's own
      continue;
    }
    const oomguard::interpose::SymbolTable symbols(at->l_ld, at->l_addr);
    if (next_dlsym == nullptr) next_dlsym = symbols.find("dlsym");
    if (next_dlvsym == nullptr) next_dlvsym = symbols.find("dlvsym");
    if (next_dlopen == nullptr) next_dlopen = symbols.find("dlopen");
    if (next_dlsym != nullptr && next_dlvsym != nullptr && next_dlopen != nullptr) break;
  }
  oomguard_next_dlvsym = reinterpret_cast<decltype(oomguard_next_dlvsym)>(next_dlvsym);
  oomguard_next_dlopen = reinterpret_cast<decltype(oomguard_next_dlopen)>(next_dlopen);
  oomguard_next_dlsym = reinterpret_cast<decltype(oomguard_next_dlsym)>(next_dlsym);
}
