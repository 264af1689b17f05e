#include "shim/trace/modules.h"

#include <string.h>

#include "collector/record/append.h"
#include "shim/trace/loaded_object.h"
#include "shim/trace/program_headers.h"

namespace oomguard::trace::modules {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr size_t kPaths = 1024;
constexpr size_t kKnown = 1024;
constexpr size_t kTries = 4;

constinit Target g_target{};

// What was loaded where (an object's stamp) and which module that is. Rewritten when there are too
// many.
struct Known {
  std::atomic<uint64_t> stamp;  // 0: free, or being written
  std::atomic<uint32_t> module;
};
constinit Known g_known[kKnown] = {};

struct Facts {
  uint32_t path;
  BuildId id;
};

Known& known_at(uint64_t stamp, size_t attempt) {
  return g_known[((stamp >> 32) + attempt) % kKnown];
}

// The module's index + 1; 0: not known.
uint32_t find_known(uint64_t stamp) {
  for (size_t i = 0; i < kTries; ++i) {
    const Known& known = known_at(stamp, i);
    if (known.stamp.load(std::memory_order_acquire) != stamp) continue;
    const uint32_t module = known.module.load(std::memory_order_acquire);
    if (known.stamp.load(kRelaxed) == stamp) return module;
  }
  return 0;
}

void remember(uint64_t stamp, uint32_t module) {
  Known* place = &known_at(stamp, module % kTries);
  for (size_t i = 0; i < kTries; ++i) {
    Known& known = known_at(stamp, i);
    const uint64_t seen = known.stamp.load(kRelaxed);
    if (seen == stamp) return;
    if (seen == 0) {
      place = &known;
      break;
    }
  }
  place->stamp.store(0, kRelaxed);
  place->module.store(module, std::memory_order_release);
  place->stamp.store(stamp, std::memory_order_release);
}

void read_facts(const LoadedObject& object, Facts* out) {
  char path[kPaths];
  const char* name = object.map != nullptr ? object.map->l_name : "";
  // The program itself has no name, and one that is relative says nothing elsewhere.
  if (name[0] != '/' && mapped_path(object.start, path, sizeof path)) name = path;
  out->path = g_target.string_id(name);
  ProgramHeaders headers;
  if (!read_program_headers(object.start, object.end, name[0] == '/' ? name : nullptr, &headers) ||
      !read_build_id(object.start, object.end, object.bias, headers, &out->id)) {
    out->id = {};
  }
}

bool is_same(const record::ModuleRecord& record, const LoadedObject& object, const Facts& facts) {
  return record.state.load(std::memory_order_acquire) == 1 && record.path == facts.path &&
         record.build_id_bytes == facts.id.size &&
         memcmp(record.build_id, facts.id.bytes, facts.id.size) == 0 &&
         (facts.id.size != 0 || record.end - record.start == object.end - object.start);
}

uint32_t find_recorded(const LoadedObject& object, const Facts& facts) {
  uint32_t count = g_target.used->load(kRelaxed);
  if (count > g_target.capacity) count = g_target.capacity;
  for (uint32_t i = 0; i < count; ++i) {
    if (is_same(g_target.records[i], object, facts)) return i + 1;
  }
  return 0;
}

uint32_t add(const LoadedObject& object, const Facts& facts) {
  const uint32_t index = record::claim(*g_target.used, *g_target.dropped, g_target.capacity, 1);
  if (index == record::kNoRecord) return 0;
  record::ModuleRecord& record = g_target.records[index];
  record.start = object.start;
  record.end = object.end;
  record.bias = object.bias;
  memcpy(record.build_id, facts.id.bytes, sizeof record.build_id);
  record.build_id_bytes = static_cast<uint32_t>(facts.id.size);
  record.path = facts.path;
  record.state.store(1, std::memory_order_release);
  return index + 1;
}

[[gnu::cold, gnu::noinline]] uint32_t meet(const LoadedObject& object) {
  Facts facts;
  read_facts(object, &facts);
  uint32_t module = find_recorded(object, facts);
  if (module == 0) module = add(object, facts);
  if (module != 0) remember(object.stamp, module);
  return module;
}

}  // namespace

void record_into(const Target& target) noexcept {
  for (Known& known : g_known) {
    if (known.stamp.load(kRelaxed) != 0) known.stamp.store(0, kRelaxed);
  }
  g_target = target;
}

Place locate(uintptr_t return_address) noexcept {
  LoadedObject object;
  if (g_target.records == nullptr || !find_object(return_address - 1, &object))
    return {0, return_address};
  uint32_t module = find_known(object.stamp);
  if (module == 0) module = meet(object);
  if (module == 0) return {0, return_address};
  return {module, return_address - object.bias};
}

}  // namespace oomguard::trace::modules
