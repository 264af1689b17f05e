#include "shim/core/thread_state.h"

namespace oomguard {

constinit thread_local ThreadState thread_state = {};

}  // namespace oomguard
