// Whether a file name of Python code is a person's own, by its looks: not of the standard library,
// not of an installed package, not made up by the interpreter. Notebook cells and code from a
// string are.
// Pure. Callable from a hook: yes.
#pragma once

#include <cstddef>
#include <string_view>

namespace oomguard::record {

// Without what may throw (substr): the library has no exceptions.
constexpr bool begins_with(std::string_view text, std::string_view with) {
  return text.size() >= with.size() &&
         std::string_view::traits_type::compare(text.data(), with.data(), with.size()) == 0;
}
constexpr std::string_view from(std::string_view text, size_t at) {
  return {text.data() + at, text.size() - at};
}

// "/lib/python3.11/", "/lib64/python3/", "/lib/python312.zip/", "/lib/python3.13t/".
constexpr bool is_standard_library(std::string_view file) {
  const auto skip_digits = [file](size_t at) {
    while (at < file.size() && file[at] >= '0' && file[at] <= '9') ++at;
    return at;
  };
  for (const std::string_view folder : {"/lib/python", "/lib64/python"}) {
    for (size_t at = 0; (at = file.find(folder, at)) != std::string_view::npos; ++at) {
      const size_t version = at + folder.size();
      size_t end = skip_digits(version);
      if (end == version) continue;
      if (end < file.size() && file[end] == '.') end = skip_digits(end + 1);
      for (const std::string_view next : {"/", "zip/", ".zip/", "t/"}) {
        if (begins_with(from(file, end), next)) return true;
      }
    }
  }
  return false;
}

constexpr bool is_own_code(std::string_view file) {
  if (file.empty()) return false;
  // What the interpreter, this library, attrs and numpy call code that is in no file.
  for (const std::string_view made_up :
       {"<frozen ", "<oomguard ", "<attrs ", "<__array_function__ ", "<template>"}) {
    if (begins_with(file, made_up)) return false;
  }
  for (const std::string_view installed : {"/site-packages/", "/dist-packages/"}) {
    if (file.find(installed) != std::string_view::npos) return false;
  }
  return !is_standard_library(file);
}

}  // namespace oomguard::record
