#include <functional>
#include <stdexcept>

#include "tests/shim/trace/shapes.h"

namespace {

struct Base {
  virtual int call(Leaf leaf, void* data) = 0;
  virtual ~Base() = default;
};
struct Derived final : Base {
  [[gnu::noinline]] int call(Leaf leaf, void* data) override { return leaf(data) + added; }
  volatile int added = 1;
};

[[gnu::always_inline]] inline int innermost(Leaf leaf, void* data) { return leaf(data) + 1; }
[[gnu::always_inline]] inline int middle(Leaf leaf, void* data) {
  return innermost(leaf, data) + 1;
}

struct AtEnd {
  Leaf leaf;
  void* data;
  int* answer;
  [[gnu::noinline]] ~AtEnd() { *answer = leaf(data); }
};

[[gnu::noinline]] void throws(Leaf leaf, void* data, int* answer) {
  const AtEnd at_end{leaf, data, answer};
  throw std::runtime_error("a reason");
}

}  // namespace

[[gnu::noinline]] int shape_virtual(Leaf leaf, void* data) {
  Derived derived;
  Base* base = &derived;
  asm volatile("" : "+r"(base));
  return base->call(leaf, data) + 1;
}

[[gnu::noinline]] int shape_inlined(Leaf leaf, void* data) { return middle(leaf, data) + 1; }

[[gnu::noinline]] int shape_function_object(Leaf leaf, void* data) {
  std::function<int()> function = [leaf, data] { return leaf(data) + 1; };
  asm volatile("" : : "r"(&function) : "memory");
  return function() + 1;
}

[[gnu::noinline]] int shape_while_unwinding(Leaf leaf, void* data) {
  int answer = 0;
  try {
    throws(leaf, data, &answer);
  } catch (const std::runtime_error&) {
    return answer + 1;
  }
  return -1;
}

[[gnu::noinline]] int shape_in_handler(Leaf leaf, void* data) {
  try {
    throw std::runtime_error("a reason");
  } catch (const std::runtime_error&) {
    return leaf(data) + 1;
  }
}
