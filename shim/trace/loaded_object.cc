#include "shim/trace/loaded_object.h"

#include <sys/auxv.h>

#include <atomic>
#include <cstring>
#include <span>

#include "shim/core/dl.h"
#include "shim/trace/object_table.h"
#include "shim/trace/program_headers.h"

namespace oomguard::trace {
namespace {

// struct dl_find_object, which older headers lack; and room for what newer ones may add.
struct Found {
  unsigned long long flags;
  void* map_start;
  void* map_end;
  link_map* map;
  void* eh_frame;
  unsigned long long reserved[11];
};
using FindObject = int (*)(void*, Found*);
constinit FindObject g_find = nullptr;

// All of the program itself. Where its segments have gaps, the dynamic linker gives each by itself.
struct Range {
  uintptr_t start;
  uintptr_t end;
};
constinit Range g_program{};

// Those that are never unloaded.
constexpr size_t kLasting = 3;
constinit LoadedObject g_lasting[kLasting] = {};

constexpr uintptr_t kPage = 4096;
constexpr size_t kIdBytes = 8;  // as much of a build-id as is compared

uint64_t mix(uint64_t a, uint64_t b) {
  const uint64_t product = (a ^ b) * 0x9e3779b97f4a7c15u;
  return product ^ product >> 29;
}

// Where the build-ids of objects lie: in nearly all of them in the first page, behind the program
// headers. Each word is an object's start + the place in that page; 0 there: it has none in it.
constexpr size_t kPlaces = 1024;
constexpr size_t kTries = 4;
constinit std::atomic<uintptr_t> g_places[kPlaces] = {};

[[gnu::cold, gnu::noinline]] uintptr_t look_for_build_id(const LoadedObject& object) {
  ProgramHeaders headers;
  BuildId id;
  if (!read_program_headers(object.start, object.end, nullptr, &headers) ||
      !read_build_id(object.start, object.end, object.bias, headers, &id) || id.size < kIdBytes) {
    return 0;
  }
  const uintptr_t offset = id.address - object.start;
  return offset <= kPage - kIdBytes ? offset : 0;
}

uintptr_t place_of_build_id(const LoadedObject& object) {
  const size_t first = (object.start / kPage * 0x9e3779b97f4a7c15u) >> (64 - 10);
  static_assert(kPlaces == size_t{1} << 10);
  std::atomic<uintptr_t>* free = &g_places[first];
  for (size_t i = 0; i < kTries; ++i) {
    std::atomic<uintptr_t>& place = g_places[(first + i) % kPlaces];
    const uintptr_t seen = place.load(std::memory_order_relaxed);
    if ((seen & ~(kPage - 1)) == object.start) return seen;
    if (seen == 0) {
      free = &place;
      break;
    }
  }
  const uintptr_t found = object.start + look_for_build_id(object);
  free->store(found, std::memory_order_relaxed);
  return found;
}

// 0: it has none there.
uint64_t first_of_build_id(const LoadedObject& object) {
  if (object.start % kPage != 0) return 0;
  const uintptr_t place = place_of_build_id(object);
  uint64_t id = 0;
  if (place != object.start) memcpy(&id, reinterpret_cast<const void*>(place), kIdBytes);
  return id;
}

// Another object at the same place may lie where the dynamic linker's description of the first one
// lay.
uint64_t stamp_of(const LoadedObject& object) {
  uint64_t stamp = mix(mix(object.start, object.end), object.eh_header);
  const uint64_t id = first_of_build_id(object);
  if (id != 0) return mix(stamp, id);
  for (const char* c = object.map->l_name; *c != '\0'; ++c)
    stamp = mix(stamp, static_cast<uint8_t>(*c));
  return mix(stamp, reinterpret_cast<uintptr_t>(object.map->l_ld));
}

// From what the kernel handed to the program.
Range program_range() {
  const auto* headers = reinterpret_cast<const Elf64_Phdr*>(getauxval(AT_PHDR));
  const size_t count = getauxval(AT_PHNUM);
  if (headers == nullptr || getauxval(AT_PHENT) != sizeof(Elf64_Phdr)) return {};
  Range range{UINTPTR_MAX, 0};
  uintptr_t bias = 1;
  for (size_t i = 0; i < count; ++i) {
    const Elf64_Phdr& entry = headers[i];
    if (entry.p_type == PT_PHDR) bias = reinterpret_cast<uintptr_t>(headers) - entry.p_vaddr;
    if (entry.p_type != PT_LOAD) continue;
    if ((entry.p_vaddr & ~(kPage - 1)) < range.start) range.start = entry.p_vaddr & ~(kPage - 1);
    if (entry.p_vaddr + entry.p_memsz > range.end) range.end = entry.p_vaddr + entry.p_memsz;
  }
  if (bias == 1 || range.end <= range.start) return {};
  return {range.start + bias, range.end + bias};
}

}  // namespace

void find_objects_with(ObjectSource source) noexcept {
  g_program = program_range();
  g_find = source == ObjectSource::kNewest
               ? reinterpret_cast<FindObject>(dlsym(RTLD_DEFAULT, "_dl_find_object"))
               : nullptr;
  const uintptr_t addresses[kLasting] = {getauxval(AT_ENTRY),
                                         reinterpret_cast<uintptr_t>(&getauxval),
                                         reinterpret_cast<uintptr_t>(&find_objects_with)};
  for (size_t i = 0; i < kLasting; ++i) {
    g_lasting[i] = {};
    if (find_object(addresses[i], &g_lasting[i])) g_lasting[i].lasts = true;
  }
}

bool find_object(uintptr_t address, LoadedObject* out) noexcept {
  if (g_find == nullptr) return find_in_own_table(address, out);
  Found found;
  if (g_find(reinterpret_cast<void*>(address), &found) != 0) return false;
  out->start = reinterpret_cast<uintptr_t>(found.map_start);
  out->end = reinterpret_cast<uintptr_t>(found.map_end);
  if (out->start >= g_program.start && out->start < g_program.end) {
    out->start = g_program.start;
    out->end = g_program.end;
  }
  out->bias = found.map->l_addr;
  out->eh_header = reinterpret_cast<uintptr_t>(found.eh_frame);
  out->map = found.map;
  out->stamp = stamp_of(*out);
  out->lasts = false;
  return true;
}

bool RecentObjects::find_elsewhere(uintptr_t address) noexcept {
  for (const std::span<const LoadedObject> some : {std::span<const LoadedObject>(kept_),
                                                   std::span<const LoadedObject>(g_lasting)}) {
    for (const LoadedObject& object : some) {
      if (!object.contains(address)) continue;
      current_ = &object;
      return true;
    }
  }
  LoadedObject found{};
  if (!find_object(address, &found)) return false;
  current_ = &(kept_[oldest_] = found);
  oldest_ = (oldest_ + 1) % kKept;
  return true;
}

}  // namespace oomguard::trace
