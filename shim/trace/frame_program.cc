#include "shim/trace/frame_program.h"

#include <cstring>

namespace oomguard::trace {
namespace {

constexpr size_t kMaxRemembered = 3;
constexpr unsigned kMaxSteps = 4096;

// Runs the instructions of one description up to an address.
class Machine {
 public:
  Machine(MappedRange& module, const FrameDescription& description, uintptr_t address,
          FrameRow* row)
      : module_(module), description_(description), address_(address), row_(*row) {}

  bool run_common() {
    in_common_ = true;
    return run(description_.common_start, description_.common_end);
  }
  bool run_own(const FrameRow& initial) {
    in_common_ = false;
    initial_ = &initial;
    location_ = description_.function;
    return run(description_.own_start, description_.own_end);
  }

 private:
  bool run(uintptr_t start, uintptr_t end) {
    ByteReader in(module_, start, end);
    for (unsigned step = 0; !in.at_end(); ++step) {
      if (step == kMaxSteps) return false;
      const uint8_t code = in.get<uint8_t>();
      if (!in.ok()) return false;
      if (!execute(code, in)) return past_ && in.ok();
      if (!in.ok()) return false;
    }
    return in.ok();
  }

  // False: an instruction that is not known, or the address lies before what follows (`past_`).
  bool execute(uint8_t code, ByteReader& in) {
    const uint8_t low = code & 0x3f;
    switch (code & 0xc0) {
      case 0x40: return advance(low);
      case 0x80:
        set(low, Where::kSaved, static_cast<int64_t>(in.uleb()) * description_.data_factor);
        return true;
      case 0xc0: return restore(low);
    }
    if (code <= 0x0b) return execute_low(code, in);
    return execute_high(code, in);
  }

  bool execute_low(uint8_t code, ByteReader& in) {
    switch (code) {
      case 0x00: return true;
      case 0x01: {  // set_loc
        location_ = in.encoded(description_.encoding);
        return !is_past();
      }
      case 0x02: return advance(in.get<uint8_t>());
      case 0x03: return advance(in.get<uint16_t>());
      case 0x04: return advance(in.get<uint32_t>());
      case 0x05: {  // offset_extended
        const uint64_t number = in.uleb();
        set(number, Where::kSaved, static_cast<int64_t>(in.uleb()) * description_.data_factor);
        return true;
      }
      case 0x06: return restore(in.uleb());
      case 0x07: set(in.uleb(), Where::kUndefined, 0); return true;
      case 0x08: set(in.uleb(), Where::kSame, 0); return true;
      case 0x09: {  // register
        const uint64_t number = in.uleb();
        set(number, Where::kRegister, static_cast<int64_t>(in.uleb()));
        return true;
      }
      case 0x0a: return remember();
      default: return recall();
    }
  }

  bool execute_high(uint8_t code, ByteReader& in) {
    switch (code) {
      case 0x0c: {  // def_cfa
        const uint64_t number = in.uleb();
        define(number, static_cast<int64_t>(in.uleb()));
        return true;
      }
      case 0x0d: define(in.uleb(), row_.address_offset); return true;
      case 0x0e: row_.address_offset = static_cast<int64_t>(in.uleb()); return true;
      case 0x0f:  // def_cfa_expression
        row_.address_by_expression = true;
        row_.address_expression = in.at();
        in.skip(in.uleb());
        return true;
      case 0x10: return set_expression(in, Where::kSavedAtResult);
      case 0x11: return set_signed(in, Where::kSaved);
      case 0x12: {  // def_cfa_sf
        const uint64_t number = in.uleb();
        define(number, in.sleb() * description_.data_factor);
        return true;
      }
      case 0x13: row_.address_offset = in.sleb() * description_.data_factor; return true;
      case 0x14: {  // val_offset
        const uint64_t number = in.uleb();
        set(number, Where::kFrameOffset,
            static_cast<int64_t>(in.uleb()) * description_.data_factor);
        return true;
      }
      case 0x15: return set_signed(in, Where::kFrameOffset);
      case 0x16: return set_expression(in, Where::kResult);
      case 0x2d: return true;  // aarch64: return addresses are signed from here on
      case 0x2e: in.uleb(); return true;  // size of the arguments
      case 0x2f: {  // offset_extended of a negative offset
        const uint64_t number = in.uleb();
        set(number, Where::kSaved, -static_cast<int64_t>(in.uleb()) * description_.data_factor);
        return true;
      }
      default: return false;
    }
  }

  bool set_signed(ByteReader& in, Where where) {
    const uint64_t number = in.uleb();
    set(number, where, in.sleb() * description_.data_factor);
    return true;
  }
  bool set_expression(ByteReader& in, Where where) {
    const uint64_t number = in.uleb();
    set(number, where, static_cast<int64_t>(in.at()));
    in.skip(in.uleb());
    return true;
  }
  // Registers that hold no addresses (vectors) are passed over.
  void set(uint64_t number, Where where, int64_t value) {
    if (number >= kRegisters) return;
    row_.where[number] = where;
    row_.value[number] = value;
  }
  void define(uint64_t number, int64_t offset) {
    row_.address_by_expression = false;
    row_.address_register = static_cast<uint8_t>(number < kRegisters ? number : kRegisters);
    row_.address_offset = offset;
  }
  bool restore(uint64_t number) {
    if (in_common_) return false;
    if (number < kRegisters) set(number, initial_->where[number], initial_->value[number]);
    return true;
  }
  bool remember() {
    if (remembered_count_ == kMaxRemembered) return false;
    remembered_[remembered_count_++] = row_;
    return true;
  }
  bool recall() {
    if (remembered_count_ == 0) return false;
    row_ = remembered_[--remembered_count_];
    return true;
  }
  bool advance(uint64_t by) {
    location_ += by * description_.code_factor;
    return !is_past();
  }
  bool is_past() {
    past_ = !in_common_ && location_ > address_;
    return past_;
  }

  MappedRange& module_;
  const FrameDescription& description_;
  const uintptr_t address_;
  FrameRow& row_;
  const FrameRow* initial_ = nullptr;
  uintptr_t location_ = 0;
  bool in_common_ = false;
  bool past_ = false;
  size_t remembered_count_ = 0;
  FrameRow remembered_[kMaxRemembered];
};

}  // namespace

bool read_row(MappedRange& module, const FrameDescription& description, uintptr_t address,
              FrameRow* out) noexcept {
  memset(out, 0, sizeof *out);
  out->address_register = kRegisters;  // none yet
  Machine machine(module, description, address, out);
  if (!machine.run_common()) return false;
  const FrameRow initial = *out;
  if (!machine.run_own(initial)) return false;
  return out->address_by_expression || out->address_register < kRegisters;
}

}  // namespace oomguard::trace
