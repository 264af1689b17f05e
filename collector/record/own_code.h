// Whether a file name of Python code is a person's own, by its looks: not of the standard library, not of an
// installed package, not made up by the interpreter. Notebook cells and code from a string are.
// Pure. Callable from a hook: yes.
#pragma once

#include <cstring>

namespace oomguard::record {

inline bool is_own_code(const char* file) {
  static constexpr const char* kInstalled[] = {"/site-packages/", "/dist-packages/", "/lib/python3.",
                                               "/lib64/python3."};
  static constexpr const char* kMadeUp[] = {"<frozen ", "<oomguard ", "<__array_function__ ",
                                            "<attrs ", "<template>"};
  if (file[0] == '\0') return false;
  for (const char* part : kInstalled) {
    if (strstr(file, part) != nullptr) return false;
  }
  for (const char* start : kMadeUp) {
    if (strncmp(file, start, strlen(start)) == 0) return false;
  }
  return true;
}

}  // namespace oomguard::record
