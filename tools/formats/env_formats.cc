#include "tools/formats/env_formats.h"

#include <nlohmann/json.hpp>

namespace oomguard::tools {
namespace {

std::string replace_all(std::string text, std::string_view what, std::string_view with) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size()) {
    text.replace(at, what.size(), with);
  }
  return text;
}

// For `eval "$(oomguard env)"` in any shell of the Bourne family. Libraries that are preloaded in
// that shell stay, behind ours.
std::string shell(const std::vector<EnvironmentPair>& pairs) {
  std::string out;
  for (const auto& [name, value] : pairs) {
    out += "export " + name + "='" + replace_all(value, "'", "'\\''") + "'";
    if (name == "LD_PRELOAD") out += "\"${LD_PRELOAD:+:$LD_PRELOAD}\"";
    out += "\n";
  }
  return out;
}

std::string json(const std::vector<EnvironmentPair>& pairs) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  for (const auto& [name, value] : pairs) object[name] = value;
  return object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// A .env file, as editors read it for the programs and kernels that they start.
std::string dotenv(const std::vector<EnvironmentPair>& pairs) {
  std::string out;
  for (const auto& [name, value] : pairs) {
    const bool has_quote = value.find('\'') != std::string::npos;
    const std::string escaped = replace_all(replace_all(value, "\\", "\\\\"), "\"", "\\\"");
    out += name + "=" + (has_quote ? "\"" + escaped + "\"" : "'" + value + "'") + "\n";
  }
  return out;
}

// For `docker run --env-file`: one NAME=value a line, taken to its end, without any quoting.
std::string docker(const std::vector<EnvironmentPair>& pairs) {
  std::string out;
  for (const auto& [name, value] : pairs) out += name + "=" + value + "\n";
  return out;
}

// Lines of a unit's [Service] section; % begins a specifier there.
std::string systemd(const std::vector<EnvironmentPair>& pairs) {
  std::string out;
  for (const auto& [name, value] : pairs) {
    std::string quoted = replace_all(value, "\\", "\\\\");
    quoted = replace_all(replace_all(quoted, "\"", "\\\""), "%", "%%");
    out += "Environment=\"" + name + "=" + quoted + "\"\n";
  }
  return out;
}

// The env list of a container in a pod; $(NAME) would be replaced there, $$ stands for one $. A
// JSON string is a YAML string.
std::string k8s(const std::vector<EnvironmentPair>& pairs) {
  std::string out = "env:\n";
  for (const auto& [name, value] : pairs) {
    const nlohmann::json quoted = replace_all(value, "$", "$$");
    out += "- name: " + name +
           "\n  value: " + quoted.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) +
           "\n";
  }
  return out;
}

}  // namespace

EnvFormat find_env_format(std::string_view name) {
  static constexpr EnvFormat kFunctions[] = {shell, json, dotenv, docker, systemd, k8s};
  for (size_t i = 0; i < std::size(kEnvFormats); ++i) {
    if (name == kEnvFormats[i]) return kFunctions[i];
  }
  return nullptr;
}

}  // namespace oomguard::tools
