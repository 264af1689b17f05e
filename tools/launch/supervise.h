// Starts a program as a child and stays out of its way until it ends.
//
// Whatever ends as a child of this process is waited for (as the first process of a container it
// gets those that others left behind). Signals that arrive here are passed on, except those that
// the terminal or somebody else sent to the whole process group: the child has them already
// (witness.h). Stopping (Ctrl-Z) and going on work as without us. If this process is killed, so is
// the child.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "collector/record/result.h"

namespace oomguard::tools {

// A signal that arrived here last and went on to the program; or the program had it already,
// because it was sent to the whole process group.
struct Passed {
  int number = 0;         // 0: none
  pid_t sender = 0;       // 0 unknown, or the terminal
  std::string name;       // of the sender, where it was still there
};

struct Ended {
  pid_t pid = 0;
  int wait_status = 0;
  Passed passed;
};

// `environment` replaces the child's; to it comes `<pid_variable>=<pid of the child>`. `subreaper`:
// what the program leaves behind becomes this process's child (PR_SET_CHILD_SUBREAPER). Errors: the
// program could not be started (126 or 127), or no process could be made.
Result<Ended> supervise(const std::string& path, const std::vector<std::string>& arguments,
                        std::vector<std::string> environment, const std::string& pid_variable,
                        bool subreaper);

}  // namespace oomguard::tools
