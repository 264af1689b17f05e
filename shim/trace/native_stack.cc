#include "shim/trace/native_stack.h"

#include <string.h>

#include "collector/probe/readable.h"
#include "shim/trace/frame_program.h"
#include "shim/trace/known_stack.h"
#include "shim/trace/loaded_object.h"
#include "shim/trace/registers.h"
#include "shim/trace/rule_cache.h"
#include "shim/trace/thread_stack.h"

namespace oomguard::trace {
namespace {

constexpr unsigned kMaxOwnFrames = 32;
constexpr unsigned kMaxSignalFrames = 4;
constexpr int64_t kUnit = sizeof(uintptr_t);

constinit RuleCache g_rules;
constinit bool g_ready = false;
constinit uintptr_t g_own_start = 0;
constinit uintptr_t g_own_end = 0;

bool is_own(uintptr_t address) { return address >= g_own_start && address < g_own_end; }

// A place as a rule keeps it. False: it does not fit.
bool pack(int64_t offset, int16_t* out) {
  if (offset % kUnit != 0) return false;
  const int64_t units = offset / kUnit;
  if (units <= kIsLost || units >= kStaysSame) return false;
  *out = static_cast<int16_t>(units);
  return true;
}

// The short form of what the tables say of one preserved register. False: it has none.
bool pack_register(MappedRange& module, const FrameRow& row, size_t index, Rule* out) {
  const unsigned number = kPreserved[index];
  int16_t* const place = &out->places[index];
  switch (row.where[number]) {
    case Where::kSame:
      *place = kStaysSame;
      return kReturnInRegister || number != kReturnRegister;
    case Where::kUndefined: *place = kIsLost; return true;
    case Where::kSaved: return pack(row.value[number], place);
    case Where::kSavedAtResult: {
      uint8_t base;
      int64_t offset;
      bool loaded;
      out->from_frame = static_cast<uint16_t>(out->from_frame | 1u << index);
      return is_simple_expression(module, static_cast<uintptr_t>(row.value[number]), &base, &offset,
                                  &loaded) &&
             !loaded && base == kFrameRegister && pack(offset, place);
    }
    default: return false;
  }
}

bool pack_address(MappedRange& module, const FrameRow& row, Rule* out) {
  int64_t offset = row.address_offset;
  out->number = row.address_register;
  out->kind = RuleKind::kOffset;
  if (row.address_by_expression) {
    bool loaded;
    if (!is_simple_expression(module, row.address_expression, &out->number, &offset, &loaded))
      return false;
    if (loaded) out->kind = RuleKind::kLoaded;
  }
  out->offset = static_cast<int32_t>(offset);
  return out->offset == offset;
}

bool pack_row(MappedRange& module, const FrameDescription& description, const FrameRow& row,
              Rule* out) {
  if (description.is_signal_frame || row.where[kStackRegister] != Where::kSame ||
      !pack_address(module, row, out)) {
    return false;
  }
  for (size_t i = 0; i < kPreservedCount; ++i) {
    if (!pack_register(module, row, i, out)) return false;
  }
  return true;
}

[[gnu::cold, gnu::noinline]] Rule make_rule(const LoadedObject& object, uintptr_t address) {
  Rule rule{};
  rule.stamp = object.short_stamp();
  rule.kind = RuleKind::kUnknown;
  MappedRange module(object.start, object.end);
  FrameDescription description;
  FrameRow row;
  if (object.eh_header == 0 || !find_description(module, object.eh_header, address, &description) ||
      !read_row(module, description, address, &row)) {
    return rule;
  }
  if (row.where[kReturnRegister] == Where::kUndefined) {
    rule.kind = RuleKind::kOutermost;
  } else if (!pack_row(module, description, row, &rule)) {
    rule.kind = RuleKind::kRow;
  }
  return rule;
}

// Goes from one frame to the next.
class Walk {
 public:
  Registers here;
  RecentObjects objects;

  [[nodiscard]] bool begin() { return stack_.enter(here.stack()); }
  // The address after which the instruction lies that is being executed.
  uintptr_t return_address() const { return interrupted_ ? here.pc + 1 : here.pc; }

  // To the caller's frame. False: the stack ends.
  [[nodiscard]] bool step() {
    const uintptr_t address = interrupted_ ? here.pc : here.pc - 1;
    const bool found = objects.find(address);
    may_be_known_ = false;
    last_ = {};
    if (may_be_trampoline(found) && is_trampoline()) return step_by_signal();
    if (!found) {
      may_be_known_ = !kReturnInRegister;  // there a trampoline would have to be looked for again
      return false;
    }
    const LoadedObject& object = objects.current();
    Rule rule;
    if (!g_rules.find(address, object.short_stamp(), &rule)) [[unlikely]] {
      rule = make_rule(object, address);
      g_rules.store(address, rule);
    }
    switch (rule.kind) {
      case RuleKind::kOffset:
      case RuleKind::kLoaded: return step_by(rule);
      case RuleKind::kRow: return step_by_row(address);
      default: may_be_known_ = true; return false;
    }
  }
  // What is loaded at an address that was stepped from; null: nothing.
  const LoadedObject* object_of(uintptr_t return_address) const {
    return objects.current().contains(return_address - 1) ? &objects.current() : nullptr;
  }
  // Of the last step: what it read, and whether that decides it (known_stack.h).
  const Step& last() const { return last_; }
  bool may_be_known() const { return may_be_known_; }
  bool is_interrupted() const { return interrupted_; }
  ThreadStack& stack() { return stack_; }
  // The first frame: its address is where registers were captured, not behind a call.
  void is_at_exact_address() { interrupted_ = true; }

 private:
  bool step_by(const Rule& rule) {
    if (!here.has(rule.number)) return false;
    uintptr_t frame = here.values[rule.number] + static_cast<uintptr_t>(intptr_t{rule.offset});
    if (rule.kind == RuleKind::kLoaded) {
      last_.stack_pointer_at = frame;
      if (!stack_.load(frame, &frame)) return false;
    }
    if (!is_above(frame)) return false;
    const bool has_frame_register = here.has(kFrameRegister);
    const uintptr_t frame_register = here.values[kFrameRegister];
    bool came_from_memory = false;
    for (size_t i = 0; i < kPreservedCount; ++i) {
      const int16_t place = rule.places[i];
      if (place == kStaysSame) continue;
      const unsigned number = kPreserved[i];
      if (place == kIsLost) {
        here.forget(number);
        if (number == kFrameRegister) last_.loses_frame_register = true;
        continue;
      }
      const bool from_frame = (rule.from_frame >> i & 1) != 0;
      if (from_frame && !has_frame_register) return false;
      const uintptr_t at =
          (from_frame ? frame_register : frame) + static_cast<uintptr_t>(intptr_t{place} * kUnit);
      uintptr_t value;
      if (!stack_.load(at, &value)) return false;
      here.set(number, value);
      if (number == kFrameRegister) last_.frame_register_at = at;
      if (number == kReturnRegister) {
        last_.return_address_at = at;
        came_from_memory = true;
      }
    }
    last_.uses_frame_register = rule.number == kFrameRegister || rule.from_frame != 0;
    if (!arrive(frame, came_from_memory)) return false;
    may_be_known_ = rule.number == kStackRegister || rule.number == kFrameRegister;
    return true;
  }

  // A stack grows down: the caller's part lies above. A frame that saved nothing may be of size 0.
  bool is_above(uintptr_t frame) {
    const uintptr_t least = here.stack() + (interrupted_ ? kPushedByCall : kUnit);
    return frame >= least && stack_.may_point_to(frame);
  }

  bool arrive(uintptr_t frame, bool came_from_memory) {
    if (!here.has(kReturnRegister) || (!came_from_memory && !interrupted_)) return false;
    here.known &= preserved_bits();
    here.set(kStackRegister, frame);
    here.pc = here.values[kReturnRegister] & kAddressBits;
    interrupted_ = false;
    return here.pc > 1;
  }

  // By all that the tables say. Rare: they are read each time.
  [[gnu::cold, gnu::noinline]] bool step_by_row(uintptr_t address) {
    const LoadedObject& object = objects.current();
    MappedRange module(object.start, object.end);
    FrameDescription description;
    FrameRow row;
    uintptr_t frame;
    if (!find_description(module, object.eh_header, address, &description) ||
        !read_row(module, description, address, &row) || !frame_address(module, row, &frame)) {
      return false;
    }
    if (!description.is_signal_frame && !is_above(frame)) return false;
    Registers caller = here;
    caller.known = here.known & preserved_bits();
    caller.set(kStackRegister, frame);
    for (unsigned i = 0; i < kRegisters; ++i) {
      if (row.where[i] != Where::kSame && !restore(module, row, i, frame, &caller))
        caller.forget(i);
    }
    const bool came_from_memory = row.where[kReturnRegister] != Where::kSame;
    here = caller;
    if (!description.is_signal_frame) return arrive(here.stack(), came_from_memory);
    return here.has(kReturnRegister) && arrive_from_signal(here.values[kReturnRegister]);
  }

#if defined(__aarch64__)
  // What a signal handler returns to is described by nothing there but its two instructions. It
  // lies in the vDSO, which is small, at its very beginning maybe: the address before it says
  // nothing.
  bool may_be_trampoline(bool found) const {
    constexpr uintptr_t kLargest = 65536;
    return !interrupted_ && (!found || objects.current().end - objects.current().start <= kLargest);
  }
  bool is_trampoline() const {
    constexpr uint32_t kReturnFromSignal[] = {0xd2801168, 0xd4000001};  // mov x8, 139; svc 0
    const auto* code = reinterpret_cast<const void*>(here.pc);
    return here.pc % 4 == 0 && sys::is_readable(code, sizeof kReturnFromSignal) &&
           memcmp(code, kReturnFromSignal, sizeof kReturnFromSignal) == 0;
  }
  // The kernel's frame: 128 bytes about the signal, 176 of the context, an address, the registers.
  [[gnu::cold, gnu::noinline]] bool step_by_signal() {
    const uintptr_t at = here.stack() + 128 + 176 + 8;
    for (unsigned i = 0; i < kRegisters; ++i) {
      uintptr_t value;
      if (!stack_.load(at + i * kUnit, &value)) return false;
      here.set(i, value);
    }
    uintptr_t pc;
    if (!stack_.load(at + kRegisters * kUnit, &pc)) return false;
    return arrive_from_signal(pc);
  }
#else
  static bool may_be_trampoline(bool) { return false; }
  static bool is_trampoline() { return false; }
  static bool step_by_signal() { return false; }
#endif

  bool frame_address(MappedRange& module, const FrameRow& row, uintptr_t* out) {
    if (row.address_by_expression) {
      return evaluate(module, row.address_expression, here, stack_, nullptr, out);
    }
    if (!here.has(row.address_register)) return false;
    *out = here.values[row.address_register] + static_cast<uintptr_t>(row.address_offset);
    return true;
  }

  bool restore(MappedRange& module, const FrameRow& row, unsigned number, uintptr_t frame,
               Registers* out) {
    const int64_t value = row.value[number];
    uintptr_t result;
    switch (row.where[number]) {
      case Where::kSaved:
        if (!stack_.load(frame + static_cast<uintptr_t>(value), &result)) return false;
        break;
      case Where::kFrameOffset: result = frame + static_cast<uintptr_t>(value); break;
      case Where::kRegister:
        if (value < 0 || !here.has(static_cast<unsigned>(value))) return false;
        result = here.values[value];
        break;
      case Where::kSavedAtResult:
        if (!evaluate(module, static_cast<uintptr_t>(value), here, stack_, &frame, &result) ||
            !stack_.load(result, &result)) {
          return false;
        }
        break;
      case Where::kResult:
        if (!evaluate(module, static_cast<uintptr_t>(value), here, stack_, &frame, &result))
          return false;
        break;
      default: return false;
    }
    out->set(number, result);
    return true;
  }

  // What the signal interrupted may run on another stack, and all of its registers are known.
  bool arrive_from_signal(uintptr_t pc) {
    if (++signal_frames_ > kMaxSignalFrames || !here.has(kStackRegister)) return false;
    here.pc = pc & kAddressBits;
    interrupted_ = true;
    return here.pc > 1 && stack_.enter(here.stack());
  }

  ThreadStack stack_;
  Step last_{};
  bool may_be_known_ = false;
  bool interrupted_ = false;
  unsigned signal_frames_ = 0;
};

}  // namespace

void prepare_native_stacks(OwnFrames own) noexcept {
  find_objects_with(ObjectSource::kNewest);
  find_main_stack();
  g_own_start = g_own_end = 0;
  LoadedObject self;
  if (own == OwnFrames::kLeaveOut &&
      find_object(reinterpret_cast<uintptr_t>(&prepare_native_stacks), &self)) {
    g_own_start = self.start;
    g_own_end = self.end;
  }
  g_ready = true;
}

namespace {

// What a reader gets: the frames from the hook's caller on.
class Output {
 public:
  Output(uintptr_t* addresses, size_t most, uint32_t* objects)
      : addresses_(addresses), objects_(objects), most_(most) {}

  // False: no more.
  bool add(uintptr_t address, uint32_t object) {
    if (count_ == 0 && is_own(address - 1)) return ++own_ <= kMaxOwnFrames;
    addresses_[count_] = address;
    if (objects_ != nullptr) objects_[count_] = object;
    return ++count_ < most_;
  }
  size_t count() const { return count_; }
  // So many frames there have to be to fill it.
  size_t wanted() const { return most_ - count_ + (count_ == 0 ? kMaxOwnFrames : 0); }

 private:
  uintptr_t* addresses_;
  uint32_t* objects_;
  size_t most_;
  size_t count_ = 0;
  unsigned own_ = 0;
};

// From the frame that the walk is at outward.
void read_outward(Walk* walk, KnownStack* here, KnownStack* latest, Output* out) {
  bool keeps = here != nullptr;
  for (bool more = true, has_room = true; more && has_room;) {
    for (KnownStack* known : {here, latest}) {
      if (known == nullptr || walk->is_interrupted()) continue;
      const size_t same =
          known->same_from(walk->here, out->wanted(), &walk->stack(), &walk->objects);
      if (same == 0) continue;
      for (size_t n = same; n > 0 && has_room; --n) {
        has_room = out->add(known->frame(n - 1).pc, known->frame(n - 1).object);
      }
      if (keeps) here->keep(*known, same, false);
      return;
    }
    const Registers from = walk->here;
    const uintptr_t address = walk->return_address();
    keeps = keeps && !walk->is_interrupted();
    more = walk->step();
    const LoadedObject* object = walk->object_of(address);
    keeps = keeps && walk->may_be_known();
    if (keeps) here->add(from, object, walk->last());
    has_room = out->add(address, object != nullptr ? object->short_stamp() : 0);
    if (keeps && !(more && has_room)) here->keep(*here, 0, more);
  }
}

}  // namespace

[[gnu::noinline]] size_t read_native_stack(uintptr_t* out, size_t capacity, uint32_t* objects,
                                           uint64_t hint) noexcept {
  if (!g_ready || capacity == 0) return 0;
  Walk walk;
  capture(&walk.here);
  walk.is_at_exact_address();
  if (!walk.begin() || !walk.step()) return 0;
  Output output(out, capacity < kMaxNativeFrames ? capacity : kMaxNativeFrames, objects);
  const KnownStacks known(walk.stack().own_end(), hint);
  read_outward(&walk, known.here(), known.latest(), &output);
  return output.count();
}

}  // namespace oomguard::trace
