// The `oomguard` command: reads the command line, prints errors, picks the exit status.
#include <cstdio>
#include <iostream>
#include <new>

#include "tools/command/exit_status.h"
#include "tools/command/option_flags.h"
#include "tools/command/verb.h"
#include "tools/command/version.h"

namespace oomguard::tools {
namespace {

std::string exit_statuses() {
  std::string text = "Exit statuses:\n";
  for (const Meaning& meaning : kMeanings) {
    const std::string number = std::to_string(meaning.status);
    text += std::string(5 - number.size(), ' ') + number + "  " + meaning.text + "\n";
  }
  return text + "  run: else the program's own, 128+N where signal N ended it";
}

// `run` takes everything behind its own options as the program, whatever it looks like. Cuts it off
// `words` and returns it.
std::vector<std::string> cut_program(std::vector<std::string>* words) {
  if (words->empty() || words->front() != "run") return {};
  const std::vector<std::string> behind(words->begin() + 1, words->end());
  const size_t own = count_own_arguments(behind);
  size_t program = own;
  if (program < behind.size() && behind[program] == "--") ++program;
  words->resize(1 + own);
  return {behind.begin() + static_cast<ptrdiff_t>(program), behind.end()};
}

int say(const CLI::App& app, const std::string& message, int status) {
  std::string name = "oomguard";
  std::vector<std::string> verbs;
  for (const CLI::App* verb = &app; verb->get_parent() != nullptr; verb = verb->get_parent()) {
    verbs.insert(verbs.begin(), verb->get_name());
  }
  for (const std::string& verb : verbs) name += " " + verb;
  fprintf(stderr, "%s: %s\n", name.c_str(), message.c_str());
  return status;
}

// The innermost verb that was named.
const CLI::App& named_verb(const CLI::App& app) {
  const auto verbs = app.get_subcommands();
  return verbs.empty() ? app : named_verb(*verbs.front());
}

// CLI11 says only that a verb is missing where there is one that it does not know.
std::string explain(const CLI::App& verb, const std::vector<std::string>& words,
                    const CLI::ParseError& error) {
  const auto known = verb.get_subcommands(nullptr);
  if (dynamic_cast<const CLI::RequiredError*>(&error) == nullptr || known.empty()) {
    return error.what();
  }
  const size_t depth = verb.get_parent() == nullptr ? 0 : 1;
  if (words.size() <= depth) return error.what();
  std::string text = "'" + words[depth] + "' is not known; commands: ";
  for (const CLI::App* one : known) text += (one == known.front() ? "" : ", ") + one->get_name();
  return text;
}

int run_command(std::vector<std::string> words) {
  CLI::App app{"An exception instead of the OOM killer for Python processes", "oomguard"};
  app.set_version_flag("--version", std::string("oomguard " OOMGUARD_VERSION " (commit ") + kCommit +
                                        "; " OOMGUARD_BUILD ")");
  app.require_subcommand(1);
  const std::vector<std::string> program = cut_program(&words);
  std::vector<Verb> verbs{add_run(app, program), add_env(app), add_limits(app), add_report(app),
                          add_top(app), add_fit(app), add_config(app)};
  for (Verb& verb : add_sessions(app)) verbs.push_back(std::move(verb));
  for (Verb& verb : add_kernelspec(app)) verbs.push_back(std::move(verb));
  app.footer(exit_statuses());  // last: a verb takes over the footer that is there when it is made
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    const CLI::App& verb = named_verb(app);
    return say(verb, explain(verb, words, error) + "; see --help", kBadUsage);
  }
  for (const Verb& verb : verbs) {
    if (!verb.app->parsed()) continue;
    const Result<int> outcome = verb.act();
    if (!outcome) return say(*verb.app, outcome.error().message, outcome.error().exit_status);
    if (fflush(stdout) == 0) return *outcome;
    return say(*verb.app, "the output could not be written", kCannotWrite);
  }
  return kBadUsage;
}

}  // namespace
}  // namespace oomguard::tools

int main(int argc, char** argv) {
  try {
    return oomguard::tools::run_command({argv + (argc > 0 ? 1 : 0), argv + argc});
  } catch (const std::bad_alloc&) {
    fprintf(stderr, "oomguard: out of memory\n");
    return oomguard::tools::kFailed;
  } catch (const std::exception& error) {
    fprintf(stderr, "oomguard: %s\n", error.what());
    return oomguard::tools::kFailed;
  }
}
