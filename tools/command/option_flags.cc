#include "tools/command/option_flags.h"

#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "tools/command/exit_status.h"

namespace oomguard::tools {
namespace {

constexpr size_t kLongestShown = 200;

// A value as one line of a message may show it.
std::string shown(const std::string& value) {
  std::string out = value.substr(0, kLongestShown);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < ' ' || c == 127) c = '?';
  }
  return value.size() > kLongestShown ? out + "..." : out;
}

Error not_accepted(const std::string& name, const std::string& value, const char* forms) {
  return Error{name + ": '" + shown(value) + "' is not accepted; accepted: " + forms, kBadUsage};
}

// A folder on the command line may be relative; in the environment it has to hold everywhere.
std::string absolute(const std::string& path) {
  std::error_code error;
  const auto full = std::filesystem::absolute(path, error);
  return error || path.empty() ? path : full.lexically_normal().string();
}

}  // namespace

void OptionFlags::add_to(CLI::App* app) {
  for (const options::Option& option : options::kTable) {
    if (option.flag[0] == '\0') continue;
    given_.push_back(std::make_unique<Given>(Given{&option, nullptr, "", false}));
    Given& given = *given_.back();
    const std::string fallback = std::string("; default: ") + option.fallback + "]";
    if (options::is_switch(option)) {
      given.flag = app->add_flag(option.flag, given.on, option.help);
    } else {
      given.flag = app->add_option(option.flag, given.value,
                                   std::string(option.help) + " [" + option.forms + fallback);
      given.flag->option_text("VALUE");
    }
    given.flag->group("Options of the guard");
  }
}

Result<std::vector<EnvironmentPair>> OptionFlags::variables() const {
  std::vector<EnvironmentPair> pairs;
  options::Values scratch;
  for (const auto& given : given_) {
    if (given->flag->count() == 0) continue;
    std::string value = given->value;
    if (options::is_switch(*given->option)) value = "1";
    if (given->option->id == options::Id::kDirectory) value = absolute(value);
    if (value.find('\n') != std::string::npos ||
        !options::parse(given->option->id, value.c_str(), &scratch)) {
      return not_accepted(given->option->flag, value, given->option->forms);
    }
    pairs.emplace_back(given->option->variable, value);
  }
  return pairs;
}

Result<options::Values> OptionFlags::values() const {
  const auto pairs = variables();
  if (!pairs) return pairs.error();
  options::Values values;
  for (const options::Option& option : options::kTable) {
    for (const auto& [name, value] : *pairs) {
      if (name == option.variable && !options::parse(option.id, value.c_str(), &values)) {
        return not_accepted(option.flag, value, option.forms);
      }
    }
  }
  return values;
}

Result<options::Values> read_settings(const char* const* block) {
  options::Values values;
  options::Rejected rejected{};
  if (options::parse_environment(block, &values, &rejected, 1) > 0) {
    const options::Option& option = options::kTable[static_cast<size_t>(rejected.id)];
    return not_accepted(option.variable, rejected.value, option.forms);
  }
  return values;
}

size_t count_own_arguments(const std::vector<std::string>& arguments) {
  size_t i = 0;
  while (i < arguments.size()) {
    const std::string& word = arguments[i];
    if (word == "--" || word.empty() || word[0] != '-') break;
    ++i;
    for (const options::Option& option : options::kTable) {
      if (word == option.flag && !options::is_switch(option) && i < arguments.size()) ++i;
    }
  }
  return i;
}

std::string session_directory(const options::Values& settings) {
  if (settings.directory[0] != '\0') return settings.directory;
  char path[256];
  const size_t length = options::default_directory(environ, ::geteuid(), path, sizeof(path));
  return std::string(path, length);
}

}  // namespace oomguard::tools
