// Which ways of holding a checkpoint's weights would fit into what is left for this process.
#pragma once

#include <vector>

#include "tools/report/model.h"

namespace oomguard::tools {

// One for each folder with checkpoint files, the largest first. By the sizes of the files alone:
// nothing in them is read.
std::vector<Fit> what_would_fit(const record::Flight& flight);

}  // namespace oomguard::tools
