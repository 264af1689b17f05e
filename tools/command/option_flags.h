// The options of collector/options on a command line: flags, help lines and checked values, all
// from the one table. Thread-safety: none needed, the command has one thread.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "collector/options/options.h"
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
  // What they set, beside the defaults.
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

// The settings that `block` (the environment) makes, MEM_LIMIT included. A variable with a value
// that is not accepted is an error.
Result<options::Values> read_settings(const char* const* block);

// How many of `arguments` are options of `run` itself: up to "--" or the first word that is neither
// an option nor an option's value.
size_t count_own_arguments(const std::vector<std::string>& arguments);

// The folder of sessions: of the settings, or the default.
std::string session_directory(const options::Values& settings);

}  // namespace oomguard::tools
