// Whether a file name of Python code is a person's own, by its looks: not of the standard library, not of an
// installed package, not made up by the interpreter. Notebook cells and code from a string are.
// Pure. Callable from a hook: yes.
#pragma once

#include <cstddef>
#include <string_view>

namespace oomguard::record {

// "/lib/python3.11/", "/lib64/python3/", "/lib/python312.zip/", "/lib/python3.13t/".
constexpr bool is_standard_library(std::string_view file) {
  constexpr std::string_view kPython = "/python";
  const auto skip_digits = [file](size_t at) {
    while (at < file.size() && file[at] >= '0' && file[at] <= '9') ++at;
    return at;
  };
  for (size_t at = 0; (at = file.find(kPython, at)) != std::string_view::npos; ++at) {
    const std::string_view before = file.substr(0, at);
    if (!before.ends_with("/lib") && !before.ends_with("/lib64")) continue;
    const size_t version = at + kPython.size();
    size_t end = skip_digits(version);
    if (end == version) continue;
    if (end < file.size() && file[end] == '.') end = skip_digits(end + 1);
    const std::string_view rest = file.substr(end);
    for (const std::string_view next : {"/", "zip/", ".zip/", "t/"}) {
      if (rest.starts_with(next)) return true;
    }
  }
  return false;
}

constexpr bool is_own_code(std::string_view file) {
  if (file.empty()) return false;
  // What the interpreter, this library, attrs and numpy call code that is in no file.
  for (const std::string_view made_up :
       {"<frozen ", "<oomguard ", "<attrs ", "<__array_function__ ", "<template>"}) {
    if (file.starts_with(made_up)) return false;
  }
  for (const std::string_view installed : {"/site-packages/", "/dist-packages/"}) {
    if (file.find(installed) != std::string_view::npos) return false;
  }
  return !is_standard_library(file);
}

}  // namespace oomguard::record
