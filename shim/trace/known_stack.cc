#include "shim/trace/known_stack.h"

#include <string.h>

namespace oomguard::trace {
namespace {

constexpr unsigned kPlaceBits = 5;
constexpr unsigned kThreadBits = 5;
constexpr uintptr_t kWord = sizeof(uintptr_t);

constinit KnownStack g_places[1 << kPlaceBits] = {};
// By the end of a thread's stack: the place that it used last.
constinit std::atomic<uint8_t> g_latest[1 << kThreadBits] = {};

uint64_t spread(uint64_t value) { return value * 0x9e3779b97f4a7c15u; }

bool is_word(ThreadStack* stack, uintptr_t at, uintptr_t expected) noexcept {
  uintptr_t value = 0;
  return stack->load(at, &value) && value == expected;
}

bool is_loaded(const KnownStack::Frame& frame, RecentObjects* objects) noexcept {
  if (frame.lasts) return true;
  return frame.object == (objects->find(frame.pc - 1) ? objects->current().short_stamp() : 0);
}

}  // namespace

bool KnownStack::hold(uintptr_t stack_end) noexcept {
  if (is_held_.exchange(true, std::memory_order_acquire)) return false;
  if (end_ != stack_end) count_ = 0;
  end_ = stack_end;
  unseen_ = count_;
  added_ = 0;
  return true;
}

bool KnownStack::follows(const Frame& frame, const Frame& caller,
                         ThreadStack* stack) const noexcept {
  const uintptr_t start = stack_pointer(frame);
  uintptr_t pc = 0;
  return stack->load(start + frame.return_address_at * kWord, &pc) &&
         (pc & kAddressBits) == caller.pc &&
         (frame.stack_pointer_at == kNone ||
          is_word(stack, start + frame.stack_pointer_at * kWord, stack_pointer(caller))) &&
         (frame.frame_register_at == kNone || !caller.needs_frame_register ||
          is_word(stack, start + frame.frame_register_at * kWord, caller.frame_register));
}

bool KnownStack::holds_from(size_t n, ThreadStack* stack, RecentObjects* objects) noexcept {
  if (!is_loaded(frames_[n], objects)) return false;
  for (; n > 0; --n) {
    const Frame& caller = frames_[n - 1];
    if (follows(frames_[n], caller, stack) && is_loaded(caller, objects)) continue;
    unseen_ = static_cast<uint32_t>(n);  // the caller's frame may be met all the same
    return false;
  }
  return true;
}

size_t KnownStack::same_from(const Registers& here, size_t wanted, ThreadStack* stack,
                             RecentObjects* objects) noexcept {
  while (unseen_ > 0 && stack_pointer(frames_[unseen_ - 1]) < here.stack()) --unseen_;
  if (unseen_ == 0 || (is_cut_ && unseen_ < wanted)) return 0;
  const size_t n = unseen_ - 1;
  const Frame& frame = frames_[n];
  if (stack_pointer(frame) != here.stack() || frame.pc != here.pc) return 0;
  if (frame.needs_frame_register && (!here.has(kFrameRegister) ||
                                     here.values[kFrameRegister] != frame.frame_register)) {
    return 0;
  }
  return holds_from(n, stack, objects) ? n + 1 : 0;
}

void KnownStack::add(const Registers& here, const LoadedObject* object, const Step& step) noexcept {
  const uintptr_t below_end = end_ - here.stack();
  bool fits = below_end / kWord <= UINT32_MAX;
  const auto words_to = [&](uintptr_t at) {
    if (at == 0) return kNone;
    fits = fits && at >= here.stack() && (at - here.stack()) / kWord < kNone;
    return static_cast<uint16_t>((at - here.stack()) / kWord);
  };
  Frame frame{here.pc, here.has(kFrameRegister) ? here.values[kFrameRegister] : 0,
              static_cast<uint32_t>(below_end / kWord),
              object != nullptr ? object->short_stamp() : 0, words_to(step.return_address_at),
              words_to(step.frame_register_at), words_to(step.stack_pointer_at),
              step.uses_frame_register, step.loses_frame_register,
              object != nullptr && object->lasts};
  if (added_ >= kMost || !fits) {
    added_ = kTooMany;
    return;
  }
  const size_t at = kMost - ++added_;
  if (at < count_) count_ = unseen_ = 0;  // no room for both
  frames_[at] = frame;
}

void KnownStack::keep(const KnownStack& from, size_t above, bool is_cut) noexcept {
  const size_t total = above + added_;
  count_ = 0;
  if (total > kMost) return;
  memmove(frames_ + above, frames_ + kMost - added_, added_ * sizeof(Frame));
  if (&from != this) memcpy(frames_, from.frames_, above * sizeof(Frame));
  count_ = static_cast<uint32_t>(total);
  is_cut_ = above != 0 ? from.is_cut_ : is_cut;
  // Whether what a step leaves in the frame register is used farther out.
  for (size_t n = above > 0 ? above : 1; n < total; ++n) {
    Frame& frame = frames_[n];
    const bool stays = frame.frame_register_at == kNone && !frame.loses_frame_register;
    if (stays && frames_[n - 1].needs_frame_register) frame.needs_frame_register = true;
  }
}

KnownStacks::KnownStacks(uintptr_t stack_end, uint64_t hint) noexcept {
  if (stack_end == 0) return;
  const auto place =
      static_cast<uint8_t>(spread(spread(stack_end) ^ hint) >> (64 - kPlaceBits));
  std::atomic<uint8_t>& latest = g_latest[spread(stack_end) >> (64 - kThreadBits)];
  const uint8_t before = latest.load(std::memory_order_relaxed);
  if (g_places[place].hold(stack_end)) here_ = &g_places[place];
  if (before == place) return;
  if (g_places[before].hold(stack_end)) latest_ = &g_places[before];
  latest.store(place, std::memory_order_relaxed);
}

KnownStacks::~KnownStacks() {
  for (KnownStack* held : {here_, latest_}) {
    if (held != nullptr) held->is_held_.store(false, std::memory_order_release);
  }
}

void KnownStacks::forget_all() noexcept {
  for (KnownStack& place : g_places) {
    place.count_ = 0;
    place.is_held_.store(false, std::memory_order_relaxed);
  }
}

}  // namespace oomguard::trace
