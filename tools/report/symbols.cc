#include "tools/report/symbols.h"

namespace oomguard::tools {

std::vector<Frame> Symbols::at(int module, uint64_t offset) {
  Frame frame;
  frame.module = module;
  frame.offset = offset;
  return {frame};
}

bool Symbols::is_interpreter(int module) const {
  if (module < 0 || static_cast<size_t>(module) >= modules_.size()) return false;
  const std::string& path = modules_[static_cast<size_t>(module)].path;
  const std::string name = path.substr(path.rfind('/') + 1);
  return name.rfind("python", 0) == 0 || name.rfind("libpython", 0) == 0;
}

}  // namespace oomguard::tools
