// Work on files whose file system may never answer (a dead server of NFS or FUSE): a read of them
// cannot be given up, but whoever does it can be left behind.
#pragma once

#include <chrono>
#include <functional>
#include <string>

namespace oomguard::tools {

// What `make` returns, worked out by a child of this process; empty where it fails, or takes longer
// than `limit`. The child is killed then, and left behind where it does not end by that; it has
// none of this process's descriptors. For one thread alone; signals may come meanwhile.
std::string made_by_child(const std::function<std::string()>& make,
                          std::chrono::milliseconds limit);

}  // namespace oomguard::tools
