// What `oomguard --version` says.
#pragma once

namespace oomguard::tools {

// The commit this was built from, " with changes" where there were some, or "not known".
extern const char* const kCommit;

}  // namespace oomguard::tools
