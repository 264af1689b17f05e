// Which ways of loading a checkpoint that was open would fit into what is left for this process.
#pragma once

#include <string>
#include <vector>

#include "tools/report/model.h"

namespace oomguard::tools {

// One for each checkpoint that was open when the process was seen last, the largest first. The
// headers of its files are read, for a second at the most; what cannot be read is left out. A child
// reads them, for two seconds at the most: their file system may never answer.
std::vector<Fit> what_would_fit(const record::Flight& flight);

// At most five lines, "Fits:  dtype=torch.bfloat16: ~0.3 GiB, ...": ways that are predicted to fit,
// with their arguments, and what does not. Empty where all of them fit, or nothing limits.
std::vector<std::string> advice_of(const Fit& fit);

// What is told of a death for want of memory while a checkpoint was open: its name, its size and the
// room, then the advice. Empty where there is none.
std::vector<std::string> told_of_checkpoint(const record::Flight& flight, const Death& death);

}  // namespace oomguard::tools
