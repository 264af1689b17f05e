// Names for native addresses, as frames of a report.
//
// Thread-safety: none needed, the command has one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "collector/record/reader.h"
#include "collector/symbolize/symbolizer.h"
#include "tools/report/stacks.h"

namespace oomguard::tools {

class Symbols {
 public:
  // `modules` must outlive it.
  explicit Symbols(const std::vector<record::Module>& modules) : modules_(modules) {}

  // Outermost first: what is inlined follows what it is inlined into. At least one frame, which has
  // no function, but its offset, where none is known.
  std::vector<Frame> at(int module, uint64_t offset);
  // A Python interpreter, or the library that has it.
  bool is_interpreter(int module) const;

 private:
  const record::Module* module_at(int module) const;

  const std::vector<record::Module>& modules_;
  symbolize::Symbolizer symbolizer_;
};

}  // namespace oomguard::tools
