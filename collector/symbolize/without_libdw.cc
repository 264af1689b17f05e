// What the tools are built with where libdw is missing.
#include "collector/symbolize/symbolizer.h"

namespace oomguard::symbolize {

class Symbolizer::Files {};

bool is_available() { return false; }

Symbolizer::Symbolizer() = default;
Symbolizer::~Symbolizer() = default;

std::vector<SourceFrame> Symbolizer::at(const std::string&, std::span<const uint8_t>, uint64_t) {
  return {};
}

}  // namespace oomguard::symbolize
