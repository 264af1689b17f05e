#include "tools/command/option_flags.h"

#include <unistd.h>

#include <filesystem>
#include <optional>
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
  std::vector<std::string> entries;
  for (const auto& [name, value] : *pairs) entries.push_back(name + "=" + value);
  std::vector<const char*> block;
  for (const std::string& entry : entries) block.push_back(entry.c_str());
  for (char** entry = environ; *entry != nullptr; ++entry) block.push_back(*entry);
  block.push_back(nullptr);
  return read_settings(block.data());
}

Result<Settings> read_all_settings(const char* const* block) {
  struct Reading {
    Settings settings;
    std::optional<Error> error;
  } reading;
  for (Setting& setting : reading.settings.of) setting.from = "default";
  const auto tell = [](const options::Found& found, void* context) {
    auto& [settings, error] = *static_cast<Reading*>(context);
    const auto index = static_cast<size_t>(found.id);
    if (found.outcome == options::Outcome::kTaken) {
      settings.of[index] = {found.text, found.name, found.locks};
      return;
    }
    char line[512];
    settings.wrong.emplace_back(line, options::describe(found, line, sizeof line));
    if (found.outcome == options::Outcome::kNotAccepted &&
        found.source == options::Source::kEnvironment && !error) {
      error = not_accepted(found.name, found.text, options::kTable[index].forms);
    }
  };
  options::read_settings(block, options::policy_files(block), &reading.settings.values, tell,
                         &reading);
  if (reading.error) return *reading.error;
  return std::move(reading.settings);
}

Result<options::Values> read_settings(const char* const* block) {
  const auto settings = read_all_settings(block);
  if (!settings) return settings.error();
  return settings->values;
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
