#include "tools/kernels/python.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <sstream>
#include <vector>

#include "tools/command/exit_status.h"
#include "tools/launch/target.h"

namespace oomguard::tools {
namespace {

constexpr const char* kQuestion =
    "import sys, importlib.util as u; "
    "print(sys.executable); print(sys.prefix); print(u.find_spec('ipykernel') is not None)";

// The environment without a guard: the question needs none, and its session would be in the way.
std::vector<char*> plain_environment() {
  std::vector<char*> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (strncmp(*entry, "LD_PRELOAD=", 11) != 0) entries.push_back(*entry);
  }
  entries.push_back(nullptr);
  return entries;
}

// Everything that the command writes to its standard output; an error unless it ends with 0.
Result<std::string> output_of(const std::vector<std::string>& command) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return Error{std::string("pipe: ") + strerror(errno)};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  std::vector<char*> environment = plain_environment();
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, command[0].c_str(), &actions, nullptr, arguments.data(),
                                  environment.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  std::string output;
  char buffer[512];
  for (ssize_t got; error == 0 && (got = ::read(ends[0], buffer, sizeof(buffer))) != 0;) {
    if (got > 0) output.append(buffer, static_cast<size_t>(got));
    if (got < 0 && errno != EINTR) break;
  }
  ::close(ends[0]);
  if (error != 0) return Error{command[0] + ": " + strerror(error)};
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) return Error{command[0] + " did not answer as a Python interpreter"};
  return output;
}

}  // namespace

Result<PythonFacts> ask_python(const std::string& python) {
  std::string name = python;
  if (name.empty()) {
    const char* environment = ::getenv("VIRTUAL_ENV");
    const std::string own = std::string(environment != nullptr ? environment : "") + "/bin/python";
    name = environment != nullptr && ::access(own.c_str(), X_OK) == 0 ? own : "python3";
  }
  const auto path = find_program(name);
  if (!path) return Error{"Python interpreter " + path.error().message, kFailed};
  const auto output = output_of({*path, "-c", kQuestion});
  if (!output) return output.error();
  PythonFacts facts;
  std::string has_ipykernel;
  std::istringstream lines(*output);
  std::getline(lines, facts.executable);
  std::getline(lines, facts.prefix);
  std::getline(lines, has_ipykernel);
  if (facts.executable.empty() || facts.prefix.empty()) {
    return Error{*path + " did not answer as a Python interpreter", kFailed};
  }
  facts.has_ipykernel = has_ipykernel == "True";
  return facts;
}

}  // namespace oomguard::tools
