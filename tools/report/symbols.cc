#include "tools/report/symbols.h"

#include <string>

namespace oomguard::tools {
namespace {

std::vector<uint8_t> bytes_of(const std::string& hexadecimal) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < hexadecimal.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoi(hexadecimal.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

}  // namespace

const record::Module* Symbols::module_at(int module) const {
  if (module < 0 || static_cast<size_t>(module) >= modules_.size()) return nullptr;
  return &modules_[static_cast<size_t>(module)];
}

std::vector<Frame> Symbols::at(int module, uint64_t offset) {
  std::vector<Frame> frames;
  const record::Module* file = module_at(module);
  if (file != nullptr && !file->build_id.empty()) {
    const auto found = symbolizer_.at(file->path, bytes_of(file->build_id), offset);
    // Calls of one function from one line are one frame, so the offset is left out.
    for (auto one = found.rbegin(); one != found.rend(); ++one) {
      if (one->function.empty()) continue;
      Frame frame;
      frame.module = module;
      frame.function = one->function;
      frame.file = one->file;
      frame.line = one->line > 0 ? one->line : 0;
      frame.inlined = one->inlined;
      frames.push_back(std::move(frame));
    }
  }
  if (!frames.empty()) return frames;
  Frame frame;
  frame.module = module;
  frame.offset = offset;
  return {frame};
}

bool Symbols::is_interpreter(int module) const {
  const record::Module* file = module_at(module);
  if (file == nullptr) return false;
  const std::string name = file->path.substr(file->path.rfind('/') + 1);
  return name.rfind("python", 0) == 0 || name.rfind("libpython", 0) == 0;
}

}  // namespace oomguard::tools
