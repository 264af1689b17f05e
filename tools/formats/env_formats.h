// Environment variables written so that each of these readers gets exactly the same values.
// Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/command/option_flags.h"

namespace oomguard::tools {

inline constexpr const char* kEnvFormats[] = {"shell", "json", "dotenv", "docker", "systemd", "k8s"};

// Null where there is no such format.
using EnvFormat = std::string (*)(const std::vector<EnvironmentPair>&);
EnvFormat find_env_format(std::string_view name);

}  // namespace oomguard::tools
