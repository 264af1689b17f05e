// Which call stack asked for the memory that was granted last.
//
// Thread-safety: none needed, the command has one thread.
#pragma once

#include <vector>

#include "collector/record/reader.h"

namespace oomguard::tools {

// The stack of the line that the newest samples count most live bytes for, outermost frame first;
// empty where none is known.
std::vector<record::PythonFrame> newest_stack(const record::Flight& flight);

}  // namespace oomguard::tools
