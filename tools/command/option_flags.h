// The options of collector/options on a command line: flags, help lines and checked values, all
// from the one table. Thread-safety: none needed, the command has one thread.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "collector/options/settings.h"
#include "collector/record/result.h"

namespace oomguard::tools {

using EnvironmentPair = std::pair<std::string, std::string>;

class OptionFlags {
 public:
  // Adds a flag for every option of the table that has one.
  void add_to(CLI::App* app);

  // The variables that stand for the given flags, in the table's order. A value that is not
  // accepted is an error that names it and what would be.
  Result<std::vector<EnvironmentPair>> variables() const;
  // The settings with them, as a program started here would have them.
  Result<options::Values> values() const;

 private:
  struct Given {
    const options::Option* option;
    CLI::Option* flag;
    std::string value;
    bool on = false;
  };
  std::vector<std::unique_ptr<Given>> given_;  // CLI keeps pointers to the values
};

// Where an option's value comes from.
struct Setting {
  std::string value;  // "" for the default
  std::string from;   // "default", the variable's name, or the file's path
  bool locked = false;
};
struct Settings {
  options::Values values;
  Setting of[static_cast<size_t>(options::Id::kCount)];
  std::vector<std::string> wrong;  // lines for stderr
};
// By the files and by `block` (the environment), MEM_LIMIT included. A variable with a value that
// is not accepted is an error, a line of a file is not: whoever is guarded says it, and `config`.
Result<Settings> read_all_settings(const char* const* block);
Result<options::Values> read_settings(const char* const* block);

// How many of `arguments` are options of `run` itself: up to "--" or the first word that is neither
// an option nor an option's value.
size_t count_own_arguments(const std::vector<std::string>& arguments);

// The folder of sessions: of the settings, or the default.
std::string session_directory(const options::Values& settings);

}  // namespace oomguard::tools
