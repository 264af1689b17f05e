// A value or the one line that says why there is none. For tools; never in a guarded process.
// Thread-safety: a value type. Callable from a hook: no.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace oomguard {

struct Error {
  std::string message;  // one line, whole: what failed, on what, and why
  int exit_status = 1;  // what the command ends with when this is its last word
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : content_(std::move(value)) {}
  Result(Error error) : content_(std::move(error)) {}

  explicit operator bool() const { return content_.index() == 0; }
  T& operator*() { return std::get<0>(content_); }
  const T& operator*() const { return std::get<0>(content_); }
  T* operator->() { return &std::get<0>(content_); }
  const T* operator->() const { return &std::get<0>(content_); }
  const Error& error() const { return std::get<1>(content_); }

 private:
  std::variant<T, Error> content_;
};

}  // namespace oomguard
