// What a Python interpreter says about itself, by running it.
#pragma once

#include <string>

#include "collector/record/result.h"

namespace oomguard::tools {

struct PythonFacts {
  std::string executable;  // absolute, as the interpreter names itself
  std::string prefix;      // sys.prefix
  bool has_ipykernel = false;
};

// `python`: a path or a name on PATH. Empty: the active virtual environment's, else python3.
Result<PythonFacts> ask_python(const std::string& python);

}  // namespace oomguard::tools
