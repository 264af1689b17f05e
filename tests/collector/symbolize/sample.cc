#include "tests/collector/symbolize/sample.h"

namespace sample {
namespace {

constexpr int kInner = __LINE__ + 2;
[[gnu::always_inline]] inline int inner(int number, Callback callback, void* data) {
  callback(data);
  return number + 1;
}

template <typename Number>
struct Holder {
  static constexpr int kMiddle = __LINE__ + 2;
  [[gnu::always_inline]] static Number middle(Number number, Callback callback, void* data) {
    return inner(number, callback, data) * 3;
  }
};

[[gnu::noinline]] int hidden(int number, Callback callback, void* data) {
  callback(data);
  return number * 7;
}

}  // namespace

constexpr int kOuter = __LINE__ + 2;
[[gnu::noinline, gnu::visibility("default")]] int outer(int number, Callback callback, void* data) {
  return Holder<int>::middle(number, callback, data) + 5;
}

[[gnu::visibility("default")]] int through_hidden(int number, Callback callback, void* data) {
  return hidden(number, callback, data) + 1;
}

[[gnu::visibility("default")]] Lines lines() { return {kInner, Holder<int>::kMiddle, kOuter}; }

}  // namespace sample
