// The recorded sessions in the order of a process tree: children under the process that started
// them. Thread-safety: none needed, the command has one thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "collector/record/reader.h"
#include "collector/record/sessions.h"

namespace oomguard::tools {

struct Listed {
  record::SessionFile file;
  std::unique_ptr<record::FlightHeader> header;  // null: it cannot be read
  std::string fault;                             // why
  int depth = 0;                                 // 0: nobody recorded here has started it
};

// Newest first; children follow their parent, newest first too.
Result<std::vector<Listed>> list_by_tree(const std::string& directory);

// What follows `name` and is below it; nothing where `name` is not among `all`.
std::vector<const Listed*> below(const std::vector<Listed>& all, const std::string& name);

}  // namespace oomguard::tools
