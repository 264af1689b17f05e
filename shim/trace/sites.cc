#include "shim/trace/sites.h"

#include <string.h>

#include <algorithm>

#include "collector/record/append.h"
#include "collector/record/own_code.h"
#include "shim/core/session.h"
#include "shim/trace/index.h"
#include "shim/trace/modules.h"
#include "shim/trace/native_stack.h"
#include "shim/trace/python_stack.h"

namespace oomguard::trace::sites {
namespace {

using record::Section;

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr size_t kMostFrames = 128;  // the innermost ones
constexpr uint64_t kPythonSeed = 0;
constexpr uint64_t kNativeSeed = 1;

constinit Index<(1 << 13)> g_stacks;   // by the addresses in it: what was met before costs one look
constinit Index<(1 << 16)> g_places;   // by code object and instruction, or by return address
constinit Index<(1 << 16)> g_frames;   // by what is written of it
constinit Index<(1 << 18)> g_nodes;
constinit Index<(1 << 15)> g_sites;
constinit Index<(1 << 15)> g_strings;

uint32_t string_id(const char* text) noexcept {
  const record::View& view = session::view();
  const size_t length = strnlen(text, record::kLongestString);
  if (length == 0) return 0;
  uint64_t hash = length;
  for (size_t i = 0; i < length; ++i) {
    hash = (hash ^ static_cast<unsigned char>(text[i])) * 0x100000001B3ull;
  }
  return g_strings.find_or_insert(
      mix(hash),
      [&](uint32_t id) {
        return memcmp(view.strings + id, text, length) == 0 && view.strings[id + length] == '\0';
      },
      [&]() -> uint32_t {
        const uint32_t id = record::add_string(view, text, length);
        return id <= g_strings.kMostNumber ? id : 0;
      });
}

struct FrameText {
  record::FrameKind kind;
  uint32_t line;
  uint32_t file;
  uint32_t function;
  uint32_t first_line;
  uint32_t own_code;
  uint64_t offset;
};

uint32_t frame_number(const record::View& view, const FrameText& text) noexcept {
  uint64_t hash = combine(static_cast<uint64_t>(text.kind), uint64_t{text.file} << 32 | text.line);
  hash = combine(hash, uint64_t{text.function} << 32 ^ text.offset);
  return g_frames.find_or_insert(
      hash,
      [&](uint32_t number) {
        const record::FrameRecord& frame = view.frames[number - 1];
        return frame.kind.load(std::memory_order_acquire) == static_cast<uint32_t>(text.kind) &&
               frame.line == text.line && frame.file == text.file &&
               frame.function == text.function && frame.offset == text.offset;
      },
      [&]() -> uint32_t {
        const uint32_t index = record::claim(view, Section::kFrames);
        if (index == record::kNoRecord) return 0;
        record::FrameRecord& frame = view.frames[index];
        frame.line = text.line;
        frame.file = text.file;
        frame.function = text.function;
        frame.first_line = text.first_line;
        frame.own_code = text.own_code;
        frame.offset = text.offset;
        frame.kind.store(static_cast<uint32_t>(text.kind), std::memory_order_release);
        return index + 1;
      });
}

[[gnu::noinline]] uint32_t describe_python(const record::View& view, const RawFrame& raw) noexcept {
  CodeText code;
  if (!describe(raw, &code)) return 0;
  return frame_number(view, {record::FrameKind::kPython, static_cast<uint32_t>(code.line),
                             string_id(code.file), string_id(code.function),
                             static_cast<uint32_t>(code.first_line),
                             record::is_own_code(code.file) ? 1u : 0u, 0});
}

[[gnu::noinline]] uint32_t describe_native(const record::View& view, uintptr_t address) noexcept {
  const modules::Place place = modules::locate(address);
  return frame_number(view, {record::FrameKind::kNative, 0, place.module, 0, 0, 0, place.offset});
}

template <typename Describe>
uint32_t frame_at(uint64_t place, Describe describe_it) noexcept {
  return g_places.find_or_insert(place, [](uint32_t) { return true; }, describe_it);
}

// The stack that goes on from `parent` by one frame.
uint32_t node_number(const record::View& view, uint32_t parent, uint32_t frame) noexcept {
  return g_nodes.find_or_insert(
      combine(parent, frame),
      [&](uint32_t number) {
        const record::NodeRecord& node = view.nodes[number];
        return node.frame.load(std::memory_order_acquire) == frame && node.parent == parent;
      },
      [&]() -> uint32_t {
        const uint32_t index = record::claim(view, Section::kNodes);
        if (index == record::kNoRecord || index > g_nodes.kMostNumber) return 0;
        view.nodes[index].parent = parent;
        view.nodes[index].frame.store(frame, std::memory_order_release);
        return index;
      });
}

struct Stack {
  RawFrame python[kMostFrames];
  uint64_t identities[kMostFrames];
  uintptr_t native[kMostFrames];
  uint32_t objects[kMostFrames];  // what is loaded at each
  size_t python_frames;
  size_t native_frames;
  uint64_t hash;
};

// Noted before it is described: a stack that was met before is known by its addresses alone.
void read(Stack* stack) noexcept {
  stack->python_frames = read_python_stack(stack->python, kMostFrames);
  const RawFrame* innermost = stack->python_frames != 0 ? stack->python : nullptr;
  stack->native_frames =
      read_native_stack(stack->native, kMostFrames, stack->objects,
                        innermost != nullptr ? innermost->code + innermost->instruction_bytes : 0);
  code_identities(stack->python, stack->python_frames, stack->identities);
  uint64_t hash = stack->python_frames << 32 | stack->native_frames;
  for (size_t i = 0; i < stack->python_frames; ++i) {
    const RawFrame& frame = stack->python[i];
    stack->identities[i] = combine(stack->identities[i], frame.instruction_bytes);
    hash = (hash ^ stack->identities[i] ^ uint64_t{frame.entry}) * 0x9E3779B97F4A7C15ull;
    hash ^= hash >> 29;
  }
  for (size_t i = 0; i < stack->native_frames; ++i) {
    hash = (hash ^ stack->native[i] ^ uint64_t{stack->objects[i]} << 48) * 0x9E3779B97F4A7C15ull;
    hash ^= hash >> 29;
  }
  stack->hash = mix(hash);
}

uint32_t python_leaf(const record::View& view, const Stack& stack) noexcept {
  uint32_t node = 0;
  for (size_t i = stack.python_frames; i > 0; --i) {
    const RawFrame& raw = stack.python[i - 1];
    const uint32_t frame = frame_at(combine(kPythonSeed, stack.identities[i - 1]),
                                    [&] { return describe_python(view, raw); });
    if (frame == 0) continue;
    const uint32_t next = node_number(view, node, frame | (raw.entry ? record::kEntry : 0));
    if (next != 0) node = next;
  }
  return node;
}

uint32_t native_leaf(const record::View& view, const Stack& stack) noexcept {
  uint32_t node = 0;
  for (size_t i = stack.native_frames; i > 0; --i) {
    const uintptr_t address = stack.native[i - 1];
    const uint32_t frame =
        frame_at(combine(kNativeSeed + stack.objects[i - 1], address),
                 [&] { return describe_native(view, address); });
    if (frame == 0) continue;
    const uint32_t next = node_number(view, node, frame);
    if (next != 0) node = next;
  }
  return node;
}

[[gnu::noinline]] uint32_t site_number(const record::View& view, const Stack& stack) noexcept {
  const uint32_t python = python_leaf(view, stack);
  const uint32_t native = native_leaf(view, stack);
  return g_sites.find_or_insert(
      combine(uint64_t{python} << 32 | native, 0),
      [&](uint32_t number) {
        const record::SiteRecord& site = view.sites[number - 1];
        return site.state.load(std::memory_order_acquire) == 1 && site.python_node == python &&
               site.native_node == native;
      },
      [&]() -> uint32_t {
        const uint32_t index = record::claim(view, Section::kSites);
        if (index == record::kNoRecord) return 0;
        record::SiteRecord& site = view.sites[index];
        site.python_node = python;
        site.native_node = native;
        site.state.store(1, std::memory_order_release);
        return index + 1;
      });
}

record::SiteRecord* find(uint32_t site) noexcept {
  const record::View& view = session::view();
  const bool known = site != 0 && site <= view.section(Section::kSites).capacity;
  return known ? &view.sites[site - 1] : nullptr;
}

}  // namespace

void start() noexcept {
  const record::View& view = session::view();
  record::SectionRecord& section = view.section(Section::kModules);
  modules::record_into({view.modules, view.capacity(Section::kModules), &section.used,
                        &section.dropped, string_id});
}

uint32_t of_this_thread() noexcept {
  Stack stack;
  read(&stack);
  const record::View& view = session::view();
  return g_stacks.find_or_insert(
      stack.hash, [](uint32_t) { return true; }, [&] { return site_number(view, stack); });
}

void count_live(uint32_t site, int64_t bytes, int64_t blocks) noexcept {
  record::SiteRecord* record = find(site);
  if (record == nullptr) return;
  record->live_bytes.fetch_add(bytes, kRelaxed);
  record->live_blocks.fetch_add(blocks, kRelaxed);
}

void count_allocated(uint32_t site, int64_t bytes, int64_t blocks) noexcept {
  record::SiteRecord* record = find(site);
  if (record == nullptr) return;
  record->allocated_bytes.fetch_add(bytes, kRelaxed);
  record->allocated_blocks.fetch_add(blocks, kRelaxed);
  record::FlightHeader& header = session::view().header();
  const uint64_t kib = std::min<uint64_t>(static_cast<uint64_t>(bytes) >> 10, UINT32_MAX);
  header.newest[header.newest_count.fetch_add(1, kRelaxed) % record::kNewestSlots].store(
      uint64_t{site} << 32 | kib, kRelaxed);
}

void reset_untouched() noexcept {
  const record::View& view = session::view();
  const uint32_t used = record::claimed(view, Section::kSites);
  for (uint32_t i = 0; i < used; ++i) {
    std::atomic<int64_t>& untouched = view.sites[i].untouched_bytes;
    // Not written where it is 0: pages that nothing changed stay clean.
    if (untouched.load(kRelaxed) != 0) untouched.store(0, kRelaxed);
  }
}

void add_untouched(uint32_t site, int64_t bytes) noexcept {
  record::SiteRecord* record = find(site);
  if (record != nullptr) record->untouched_bytes.fetch_add(bytes, kRelaxed);
}

void on_fork_child() noexcept {
  g_stacks.forget_all();
  g_places.forget_all();
  g_frames.forget_all();
  g_nodes.forget_all();
  g_sites.forget_all();
  g_strings.forget_all();
  start();
}

}  // namespace oomguard::trace::sites
