// Starts a program as a child and stays out of its way until it ends.
//
// Signals that arrive here are passed on, except those that the terminal or somebody else sent to
// the whole process group: the child has them already (witness.h). Stopping (Ctrl-Z) and going on
// work as without us. If this process is killed, so is the child.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "collector/record/result.h"

namespace oomguard::tools {

struct Ended {
  pid_t pid = 0;
  int wait_status = 0;
};

// `environment` replaces the child's; to it comes `<pid_variable>=<pid of the child>`. Errors: the
// program could not be started (126 or 127), or no process could be made.
Result<Ended> supervise(const std::string& path, const std::vector<std::string>& arguments,
                        std::vector<std::string> environment, const std::string& pid_variable);

}  // namespace oomguard::tools
