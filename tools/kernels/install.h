// A guarded copy of a kernelspec, put in place or taken away in one step.
#pragma once

#include <string>
#include <vector>

#include "collector/record/result.h"
#include "tools/command/option_flags.h"
#include "tools/kernels/search.h"

namespace oomguard::tools {

struct Guard {
  std::string preload;                     // liboomguard.so, and an allocator behind it
  std::vector<EnvironmentPair> variables;  // OOMGUARD_*
  std::string display_name;                // "": the source's, with " (oomguard)"
};

// The source's kernel.json with the guard in its environment and our mark in its metadata. An
// LD_PRELOAD of the source stays, behind ours.
nlohmann::ordered_json guarded_spec(const Kernelspec& source, const Guard& guard);

// Copies the source's other files and writes `spec` as `<kernels>/<name>`. Complete or not at all.
// Only a kernelspec of ours is replaced, and only with `force`. Returns the folder.
Result<std::string> install_kernelspec(const Kernelspec& source, const nlohmann::ordered_json& spec,
                                       const std::string& kernels, const std::string& name,
                                       bool force);

Result<bool> remove_kernelspec(const Kernelspec& kernelspec);

}  // namespace oomguard::tools
