#include "shim/trace/frame_program.h"

namespace oomguard::trace {
namespace {

constexpr size_t kDepth = 16;
constexpr unsigned kMaxSteps = 256;

// The stack machine of DWARF expressions, as far as frames use it.
class Calculator {
 public:
  Calculator(ByteReader& in, const Registers& registers, ThreadStack& stack)
      : in_(in), registers_(registers), stack_(stack) {}

  void push(uintptr_t value) {
    if (depth_ == kDepth) {
      fits_ = false;
    } else {
      values_[depth_++] = value;
    }
  }
  uintptr_t pop() {
    if (depth_ == 0) {
      fits_ = false;
      return 0;
    }
    return values_[--depth_];
  }
  bool fits() const { return fits_ && in_.ok(); }

  bool execute(uint8_t code) {
    if (code >= 0x30 && code <= 0x4f) {
      push(code - 0x30u);
      return true;
    }
    if (code >= 0x70 && code <= 0x8f) return push_register(code - 0x70u);
    return is_constant(code) || (code >= 0x12 && code <= 0x17 ? arrange(code) : compute(code));
  }

 private:
  bool push_register(uint64_t number) {
    const int64_t offset = in_.sleb();
    if (number >= kRegisters || !registers_.has(static_cast<unsigned>(number))) return false;
    push(registers_.values[number] + static_cast<uintptr_t>(offset));
    return true;
  }

  bool is_constant(uint8_t code) {
    switch (code) {
      case 0x03: case 0x0e: push(in_.get<uint64_t>()); return true;
      case 0x08: push(in_.get<uint8_t>()); return true;
      case 0x09: push(static_cast<uintptr_t>(intptr_t{in_.get<int8_t>()})); return true;
      case 0x0a: push(in_.get<uint16_t>()); return true;
      case 0x0b: push(static_cast<uintptr_t>(intptr_t{in_.get<int16_t>()})); return true;
      case 0x0c: push(in_.get<uint32_t>()); return true;
      case 0x0d: push(static_cast<uintptr_t>(intptr_t{in_.get<int32_t>()})); return true;
      case 0x0f: push(static_cast<uintptr_t>(in_.get<int64_t>())); return true;
      case 0x10: push(in_.uleb()); return true;
      case 0x11: push(static_cast<uintptr_t>(in_.sleb())); return true;
      default: return false;
    }
  }

  // dup, drop, over, pick, swap, rot
  bool arrange(uint8_t code) {
    const uintptr_t top = pop();
    if (code == 0x13) return fits_;
    if (code == 0x12) {
      push(top);
      push(top);
      return fits_;
    }
    const uintptr_t second = code == 0x15 ? 0 : pop();
    if (code == 0x14) {
      push(second);
      push(top);
      push(second);
    } else if (code == 0x16) {
      push(top);
      push(second);
    } else if (code == 0x17) {
      const uintptr_t third = pop();
      push(top);
      push(third);
      push(second);
    } else {
      return false;
    }
    return fits_;
  }

  bool compute(uint8_t code) {
    switch (code) {
      case 0x06: {  // deref
        uintptr_t value = 0;
        if (!stack_.load(pop(), &value)) return false;
        push(value);
        return fits_;
      }
      case 0x1f: push(-pop()); return fits_;
      case 0x20: push(~pop()); return fits_;
      case 0x23: push(pop() + in_.uleb()); return fits_;
      case 0x92: return push_register(in_.uleb());
      case 0x96: return true;
      default: break;
    }
    const uintptr_t right = pop();
    const uintptr_t left = pop();
    const auto signed_right = static_cast<intptr_t>(right);
    const auto signed_left = static_cast<intptr_t>(left);
    switch (code) {
      case 0x1a: push(left & right); break;
      case 0x1c: push(left - right); break;
      case 0x1e: push(left * right); break;
      case 0x21: push(left | right); break;
      case 0x22: push(left + right); break;
      case 0x24: push(right < 64 ? left << right : 0); break;
      case 0x25: push(right < 64 ? left >> right : 0); break;
      case 0x26: push(static_cast<uintptr_t>(signed_left >> (right < 64 ? right : 63))); break;
      case 0x27: push(left ^ right); break;
      case 0x29: push(signed_left == signed_right); break;
      case 0x2a: push(signed_left >= signed_right); break;
      case 0x2b: push(signed_left > signed_right); break;
      case 0x2c: push(signed_left <= signed_right); break;
      case 0x2d: push(signed_left < signed_right); break;
      case 0x2e: push(signed_left != signed_right); break;
      default: return false;
    }
    return fits_;
  }

  ByteReader& in_;
  const Registers& registers_;
  ThreadStack& stack_;
  uintptr_t values_[kDepth] = {};
  size_t depth_ = 0;
  bool fits_ = true;
};

// The bytes of an expression: behind their length.
ByteReader open_expression(MappedRange& module, uintptr_t at) {
  ByteReader in(module, at, module.end());
  const uint64_t length = in.uleb();
  const uintptr_t start = in.at();
  const bool fits = in.ok() && length <= module.end() - start;
  return {module, start, fits ? start + length : start};
}

}  // namespace

bool evaluate(MappedRange& module, uintptr_t at, const Registers& registers, ThreadStack& stack,
              const uintptr_t* first, uintptr_t* out) noexcept {
  ByteReader in = open_expression(module, at);
  if (in.at_end()) return false;
  Calculator calculator(in, registers, stack);
  if (first != nullptr) calculator.push(*first);
  for (unsigned step = 0; !in.at_end(); ++step) {
    if (step == kMaxSteps || !calculator.execute(in.get<uint8_t>())) return false;
  }
  *out = calculator.pop();
  return calculator.fits();
}

bool is_simple_expression(MappedRange& module, uintptr_t at, uint8_t* number, int64_t* offset,
                          bool* loaded) noexcept {
  ByteReader in = open_expression(module, at);
  const uint8_t code = in.get<uint8_t>();
  if (code < 0x70 || code - 0x70u >= kRegisters || code > 0x8f) return false;
  *number = static_cast<uint8_t>(code - 0x70u);
  *offset = in.sleb();
  if (!in.ok()) return false;
  *loaded = false;
  if (in.at_end()) return true;
  *loaded = in.get<uint8_t>() == 0x06;
  return *loaded && in.ok() && in.at_end();
}

}  // namespace oomguard::trace
