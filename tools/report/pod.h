// In a Kubernetes pod: one line for whoever looks at it from outside.
//
// Thread-safety: none needed, the command has one thread.
#pragma once

#include <sys/types.h>

#include <string>

namespace oomguard::tools {

// Appends to the file that Kubernetes shows as the reason why a container ended; elsewhere there is
// none. Of this container: what ended another one is not told there.
void put_in_termination_log(const std::string& line);

// Appends to what that process has as standard error, if this is a pod: of a kernel's server it is
// the container's log.
void put_in_log_of(pid_t process, const std::string& line);

}  // namespace oomguard::tools
