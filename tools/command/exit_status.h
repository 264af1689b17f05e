// What the command's exit statuses mean. `oomguard --help` prints them from kMeanings.
#pragma once

namespace oomguard::tools {

enum ExitStatus : int {
  kOk = 0,
  kFailed = 1,
  kBadUsage = 2,
  kUnknownKernelspec = 3,
  kCannotWrite = 4,
  kNoLibrary = 5,
  kKernelspecExists = 6,
  kNotExecutable = 126,
  kNotFound = 127,
};

struct Meaning {
  int status;
  const char* text;
};
inline constexpr Meaning kMeanings[] = {
    {kOk, "done"},
    {kFailed, "failed, or nothing to report"},
    {kBadUsage, "a value or option was not accepted"},
    {kUnknownKernelspec, "no such kernelspec"},
    {kCannotWrite, "a folder or file could not be written"},
    {kNoLibrary, "liboomguard.so is missing, or its path cannot be preloaded"},
    {kKernelspecExists, "a kernelspec of that name exists, or is not oomguard's"},
    {kNotExecutable, "run: the program cannot be executed, or not be guarded"},
    {kNotFound, "run: the program was not found"},
};

}  // namespace oomguard::tools
