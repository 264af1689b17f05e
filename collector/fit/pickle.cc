#include "collector/fit/pickle.h"

#include <cstddef>
#include <map>

namespace oomguard::fit {
namespace {

constexpr size_t kMostValues = 1'000'000;
constexpr size_t kMostName = 4096;
constexpr uint32_t kMostDimensions = 64;

enum class Kind : uint8_t { kOther, kMark, kInteger, kText, kGlobal, kTuple, kStorage, kTensor };

// What is on the pickle's stack: only what a tensor's description is made of keeps its content.
struct Value {
  Kind kind = Kind::kOther;
  int64_t integer = 0;            // of kInteger; of kTuple its first item, of kTensor its index
  uint32_t items = 0;             // of kTuple
  std::string_view text = {};     // of kText, kGlobal (its name), kStorage (its key)
  Dtype dtype = Dtype::kUnknown;  // of kGlobal, kStorage
};

class Walk {
 public:
  Walk(std::string_view in, std::vector<PickledTensor>* tensors) : in_(in), tensors_(tensors) {}

  bool run() {
    while (!in_.empty()) {
      const auto code = static_cast<unsigned char>(in_.front());
      in_.remove_prefix(1);
      if (code == '.') return true;
      const size_t values = stack_.size() + items_.size() + memo_.size() + tensors_->size();
      if (values > kMostValues || !step(code)) return false;
    }
    return false;
  }

 private:
  bool step(unsigned char code) {
    switch (code) {
      case 0x80:  // PROTO
        return skip(1);
      case 0x95:  // FRAME
        return skip(8);
      case '(':
        return push(Kind::kMark);
      case '}':
      case ']':
      case 'N':
      case 0x88:
      case 0x89:
      case 0x8f:
        return push(Kind::kOther);
      case ')':
        return push_tuple(0);
      case 'G':
        return skip(8) && push(Kind::kOther);
      case 'J':
      case 'M':
      case 'K':
        return integer(code == 'J' ? 4 : code == 'M' ? 2 : 1);
      case 0x8a:
        return long_integer();
      case 'X':
      case 0x8c:
      case 'U':
      case 'T':
      case 'B':
      case 'C':
      case 0x8d:
        return text(code);
      case 'c':
        return global();
      case 0x93:
        return stack_global();
      case 'q':
      case 'r':
      case 0x94:
        return put(code);
      case 'h':
      case 'j':
        return get(code == 'h' ? 1 : 4);
      case 0x85:
      case 0x86:
      case 0x87:
        return push_tuple(code - 0x84u);
      case 't':
        return tuple();
      case 'Q':
        return persistent();
      case 'R':
      case 0x81:
        return reduce();
      case 's':
        return set_items(2, 0);
      case 'u':
        return set_items(to_mark(), 1);
      case 'a':
      case 'b':
        return pop(1);
      case 'e':
      case 0x90:
        return pop_to_mark();
      case '0':
        return pop(1);
      default:
        return false;
    }
  }

  bool skip(size_t bytes) {
    if (in_.size() < bytes) return false;
    in_.remove_prefix(bytes);
    return true;
  }
  bool number(size_t bytes, uint64_t* value) {
    if (in_.size() < bytes || bytes > 8) return false;
    *value = 0;
    for (size_t i = bytes; i-- > 0;) *value = *value << 8 | static_cast<unsigned char>(in_[i]);
    in_.remove_prefix(bytes);
    return true;
  }
  bool push(Value value) {
    stack_.push_back(value);
    return true;
  }
  bool push(Kind kind) { return push(Value{.kind = kind}); }
  bool pop(size_t count) {
    if (stack_.size() < count) return false;
    stack_.resize(stack_.size() - count);
    return true;
  }
  const Value& top(size_t below = 0) const { return stack_[stack_.size() - 1 - below]; }

  bool integer(size_t bytes) {
    uint64_t value = 0;
    if (!number(bytes, &value)) return false;
    return push(
        {.kind = Kind::kInteger,
         .integer = bytes == 4 ? static_cast<int32_t>(value) : static_cast<int64_t>(value)});
  }
  bool long_integer() {
    uint64_t length = 0;
    uint64_t value = 0;
    if (!number(1, &length)) return false;
    if (length > 8) return skip(length) && push(Kind::kOther);
    if (!number(length, &value)) return false;
    if (length > 0 && length < 8 && (value >> (8 * length - 1) & 1) != 0) {
      value |= ~uint64_t{0} << (8 * length);
    }
    return push({.kind = Kind::kInteger, .integer = static_cast<int64_t>(value)});
  }
  bool text(unsigned char code) {
    const bool is_short = code == 0x8c || code == 'U' || code == 'C';
    uint64_t length = 0;
    if (!number(is_short ? 1 : code == 0x8d ? 8 : 4, &length) || length > in_.size()) return false;
    const std::string_view value = in_.substr(0, length);
    in_.remove_prefix(length);
    return push({.kind = Kind::kText, .text = value});
  }
  bool line(std::string_view* value) {
    const size_t end = in_.find('\n');
    if (end == std::string_view::npos) return false;
    *value = in_.substr(0, end);
    in_.remove_prefix(end + 1);
    return true;
  }
  bool global() {
    std::string_view module;
    std::string_view name;
    return line(&module) && line(&name) && push_global(module, name);
  }
  bool stack_global() {
    if (stack_.size() < 2 || top().kind != Kind::kText || top(1).kind != Kind::kText) return false;
    const std::string_view name = top().text;
    const std::string_view module = top(1).text;
    return pop(2) && push_global(module, name);
  }
  bool push_global(std::string_view module, std::string_view name) {
    const bool torchs = module == "torch" || module == "torch.storage" || module == "torch._utils";
    return push({.kind = Kind::kGlobal,
                 .text = torchs ? name : "",
                 .dtype = module == "torch" ? of_storage(name) : Dtype::kUnknown});
  }
  bool put(unsigned char code) {
    uint64_t key = memo_.size();
    if (code != 0x94 && !number(code == 'q' ? 1 : 4, &key)) return false;
    if (stack_.empty()) return false;
    memo_[key] = top();
    return true;
  }
  bool get(size_t bytes) {
    uint64_t key = 0;
    if (!number(bytes, &key)) return false;
    const auto found = memo_.find(key);
    return found != memo_.end() && push(found->second);
  }

  // The values above the newest mark; SIZE_MAX without one.
  size_t to_mark() const {
    for (size_t i = stack_.size(); i-- > 0;) {
      if (stack_[i].kind == Kind::kMark) return stack_.size() - 1 - i;
    }
    return SIZE_MAX;
  }
  bool pop_to_mark() {
    const size_t count = to_mark();
    return count != SIZE_MAX && pop(count + 1);
  }
  bool push_tuple(size_t count) {
    if (stack_.size() < count) return false;
    const Value made{.kind = Kind::kTuple,
                     .integer = static_cast<int64_t>(items_.size()),
                     .items = static_cast<uint32_t>(count)};
    items_.insert(items_.end(), stack_.end() - static_cast<ptrdiff_t>(count), stack_.end());
    return pop(count) && push(made);
  }
  bool tuple() {
    const size_t count = to_mark();
    if (count == SIZE_MAX || !push_tuple(count)) return false;
    const Value made = top();
    return pop(2) && push(made);
  }
  const Value* item(const Value& tuple, uint32_t index) const {
    if (tuple.kind != Kind::kTuple || index >= tuple.items) return nullptr;
    return &items_[static_cast<size_t>(tuple.integer) + index];
  }

  // ("storage", torch.FloatStorage, "0", "cpu", 1024)
  bool persistent() {
    if (stack_.empty()) return false;
    const Value id = top();
    const Value* type = item(id, 1);
    const Value* key = item(id, 2);
    if (type == nullptr || key == nullptr || key->kind != Kind::kText ||
        key->text.size() > kMostName) {
      return false;
    }
    const Value storage{.kind = Kind::kStorage, .text = key->text, .dtype = type->dtype};
    return pop(1) && push(storage);
  }

  // _rebuild_tensor_v2(storage, offset, shape, ...), _rebuild_parameter(tensor, ...)
  bool reduce() {
    if (stack_.size() < 2) return false;
    const Value arguments = top();
    const Value callee = top(1);
    if (!pop(2)) return false;
    const Value* first = item(arguments, 0);
    const bool is_tensor = first != nullptr && callee.kind == Kind::kGlobal;
    if (is_tensor && first->kind == Kind::kTensor && callee.text == "_rebuild_parameter") {
      return push(*first);
    }
    const Value* shape = item(arguments, 2);
    if (!is_tensor || first->kind != Kind::kStorage || shape == nullptr ||
        shape->kind != Kind::kTuple || !callee.text.starts_with("_rebuild_tensor")) {
      return push(Kind::kOther);
    }
    if (shape->items > kMostDimensions) return false;
    int64_t elements = 1;
    for (uint32_t i = 0; i < shape->items; ++i) {
      const Value* length = item(*shape, i);
      if (length->kind != Kind::kInteger || length->integer < 0 ||
          __builtin_mul_overflow(elements, length->integer, &elements)) {
        return false;
      }
    }
    const Value* offset = item(arguments, 1);
    tensors_->push_back({"", first->text, first->dtype,
                         offset->kind == Kind::kInteger ? offset->integer : -1, elements,
                         shape->items});
    return push({.kind = Kind::kTensor, .integer = static_cast<int64_t>(tensors_->size()) - 1});
  }

  // Pairs of a key and a value: `count` values, and the mark below them.
  bool set_items(size_t count, size_t marks) {
    if (count == SIZE_MAX || stack_.size() < count) return false;
    for (size_t i = stack_.size() - count; i + 1 < stack_.size(); i += 2) {
      if (stack_[i].kind != Kind::kText || stack_[i + 1].kind != Kind::kTensor) continue;
      if (stack_[i].text.size() > kMostName) return false;
      std::string_view& name = (*tensors_)[static_cast<size_t>(stack_[i + 1].integer)].name;
      if (name.empty()) name = stack_[i].text;
    }
    return pop(count + marks);
  }

  std::string_view in_;
  std::vector<PickledTensor>* tensors_;
  std::vector<Value> stack_;
  std::vector<Value> items_;  // of all tuples
  std::map<uint64_t, Value> memo_;  // no hash: a pickle could choose keys that collide
};

}  // namespace

bool walk_pickle(std::string_view pickle, std::vector<PickledTensor>* tensors) {
  return Walk(pickle, tensors).run();
}

}  // namespace oomguard::fit
