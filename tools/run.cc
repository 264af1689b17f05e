// `oomguard run`: a program with the library preloaded, its signals and exit status passed through.
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "collector/record/sessions.h"
#include "collector/record/writer.h"
#include "tools/command/exit_status.h"
#include "tools/command/option_flags.h"
#include "tools/command/verb.h"
#include "tools/launch/post_mortem.h"
#include "tools/launch/supervise.h"
#include "tools/launch/target.h"
#include "tools/preload/library.h"

namespace oomguard::tools {
namespace {

constexpr int kEndedByRefusalStatus = 137;
constexpr int kSignalBase = 128;
constexpr const char* kProgramVariable = "OOMGUARD_RUN_PROGRAM";

void set_variable(std::vector<std::string>* environment, const std::string& name,
                  const std::string& value) {
  const std::string start = name + "=";
  std::erase_if(*environment, [&](const std::string& entry) { return entry.starts_with(start); });
  environment->push_back(start + value);
}

std::string variable(const std::string& name) {
  const char* value = ::getenv(name.c_str());
  return value != nullptr ? value : "";
}

struct Plan {
  std::vector<std::string> environment;
  options::Values values;
  bool names_directory = false;  // on the command line
};

// The environment of the program, and what it sets.
Result<Plan> make_plan(const OptionFlags& flags) {
  Plan plan;
  for (char** entry = environ; *entry != nullptr; ++entry) plan.environment.push_back(*entry);
  const auto variables = flags.variables();
  if (!variables) return variables.error();
  for (const auto& [name, value] : *variables) {
    set_variable(&plan.environment, name, value);
    if (name == "OOMGUARD_DIR") plan.names_directory = true;
  }
  std::vector<const char*> block;
  for (const std::string& entry : plan.environment) block.push_back(entry.c_str());
  block.push_back(nullptr);
  const auto settings = read_all_settings(block.data());
  if (!settings) return settings.error();
  for (const options::Option& option : options::kTable) {
    const Setting& one = settings->of[static_cast<size_t>(option.id)];
    const bool given = std::ranges::count(*variables, option.variable, &EnvironmentPair::first) > 0;
    if (one.locked && given) {
      return Error{std::string(option.flag) + ": " + one.from + " locks it: " + one.value,
                   kBadUsage};
    }
  }
  plan.values = settings->values;
  if (settings->of[static_cast<size_t>(options::Id::kExitCode)].from == "default") {
    plan.values.refusal_exit_code = kEndedByRefusalStatus;
    set_variable(&plan.environment, "OOMGUARD_EXIT_CODE", std::to_string(kEndedByRefusalStatus));
  }
  return plan;
}

// A program is guarded without a session, too, so that only a folder that was asked for here is an
// error.
Result<bool> check_recordable(const Plan& plan, const std::string& directory) {
  const int error = record::prepare_folder(directory.c_str());
  if (error == 0) return true;
  const std::string text = "no session can be recorded in '" + directory + "': " + strerror(-error);
  if (plan.names_directory) return Error{"--dir: " + text, kCannotWrite};
  fprintf(stderr, "oomguard: %s; the program is guarded without one\n", text.c_str());
  return true;
}

int exit_status_of(const Ended& ended) {
  return WIFSIGNALED(ended.wait_status) ? kSignalBase + WTERMSIG(ended.wait_status)
                                        : WEXITSTATUS(ended.wait_status);
}

Result<int> run_program(const OptionFlags& flags, const std::vector<std::string>& words,
                        bool subreaper) {
  auto plan = make_plan(flags);
  if (!plan) return plan.error();
  if (words.empty())
    return Error{"which program? oomguard run [options] -- PROGRAM ARGUMENTS", kBadUsage};
  const auto path = find_program(words.front());
  if (!path) return path.error();
  if (plan->values.enabled) {
    const auto guardable = check_guardable(*path);
    if (!guardable) return guardable.error();
    const auto preload = find_preload(plan->values);
    if (!preload) return preload.error();
    set_variable(&plan->environment, "LD_PRELOAD",
                 compose_preload(*preload, variable("LD_PRELOAD")));
  }
  const std::string directory = session_directory(plan->values);
  if (plan->values.enabled) {
    const auto recordable = check_recordable(*plan, directory);
    if (!recordable) return recordable.error();
  }
  std::erase_if(plan->environment, [](const std::string& entry) {
    return entry.starts_with(std::string(kProgramVariable) + "=");
  });
  PostMortem post_mortem(directory);
  const auto ended =
      supervise(*path, words, std::move(plan->environment), kProgramVariable, subreaper);
  if (!ended) return ended.error();
  post_mortem.after(*path, *ended);
  if (!plan->values.enabled) return exit_status_of(*ended);
  record::prune_sessions(directory, {});
  const bool refused = plan->values.refusal_exit_code != 0 && post_mortem.ended_by_refusal();
  return refused ? plan->values.refusal_exit_code : exit_status_of(*ended);
}

}  // namespace

Verb add_run(CLI::App& parent, const std::vector<std::string>& rest) {
  auto* app = parent.add_subcommand(
      "run", "Run a program guarded: oomguard run [OPTIONS] [--] PROGRAM [ARGUMENTS...]");
  app->footer(
      "The exit status is the program's own, or 128+N where signal N ended it; 137 where an\n"
      "uncaught refusal ended it and --exit-code is not keep. What a program died of is said on\n"
      "standard error, and in a Kubernetes pod in /dev/termination-log, too.");
  auto flags = std::make_shared<OptionFlags>();
  flags->add_to(app);
  auto subreaper = std::make_shared<bool>(false);
  app->add_flag(
      "--subreaper", *subreaper,
      "Take in the processes that the program leaves behind, so that none stays a zombie");
  return {app, [flags, subreaper, rest] { return run_program(*flags, rest, *subreaper); }};
}

}  // namespace oomguard::tools
