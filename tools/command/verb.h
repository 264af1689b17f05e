// What main knows of a verb: its place on the command line, and the function that does it.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "collector/record/result.h"

namespace oomguard::tools {

struct Verb {
  CLI::App* app;
  std::function<Result<int>()> act;  // the exit status; an error is printed by main
};

// `rest` is what followed run's own options: the program and its arguments.
Verb add_run(CLI::App& parent, const std::vector<std::string>& rest);
Verb add_env(CLI::App& parent);
Verb add_limits(CLI::App& parent);
Verb add_report(CLI::App& parent);
Verb add_top(CLI::App& parent);
Verb add_fit(CLI::App& parent);
Verb add_config(CLI::App& parent);
std::vector<Verb> add_sessions(CLI::App& parent);
std::vector<Verb> add_kernelspec(CLI::App& parent);

}  // namespace oomguard::tools
