// `oomguard env`: the variables that guard a program, for whatever starts it.
#include <cstdio>
#include <memory>

#include "tools/command/exit_status.h"
#include "tools/command/option_flags.h"
#include "tools/command/verb.h"
#include "tools/formats/env_formats.h"
#include "tools/preload/library.h"

namespace oomguard::tools {
namespace {

struct EnvArguments {
  OptionFlags flags;
  std::string format = "shell";
  bool arrow = false;
};

Result<int> print_env(const EnvArguments& arguments) {
  const EnvFormat format = find_env_format(arguments.format);
  if (format == nullptr) {
    return Error{"--format: '" + arguments.format +
                     "' is not accepted; accepted: shell, json, dotenv, docker, systemd, or k8s",
                 kBadUsage};
  }
  const auto variables = arguments.flags.variables();
  if (!variables) return variables.error();
  const auto values = arguments.flags.values();
  if (!values) return values.error();
  const auto preload = find_preload(*values);
  if (!preload) return preload.error();
  std::vector<EnvironmentPair> pairs{{"LD_PRELOAD", *preload}};
  pairs.insert(pairs.end(), variables->begin(), variables->end());
  if (arguments.arrow) pairs.emplace_back("ARROW_DEFAULT_MEMORY_POOL", "system");
  const std::string text = format(pairs);
  fwrite(text.data(), 1, text.size(), stdout);
  return kOk;
}

}  // namespace

Verb add_env(CLI::App& parent) {
  auto* app = parent.add_subcommand("env", "Print the environment variables that guard a program");
  app->footer(
      "In a shell:     eval \"$(oomguard env)\"\n"
      "With Docker:    oomguard env --format docker > FILE; docker run --env-file FILE ...\n"
      "                (the library must be in the image at the same path)");
  auto arguments = std::make_shared<EnvArguments>();
  app->add_option("--format", arguments->format,
                  "shell, json, dotenv (VS Code's .env), docker (an --env-file), systemd, or k8s")
      ->option_text("FORMAT [shell]");
  app->add_flag("--arrow", arguments->arrow,
                "Also ARROW_DEFAULT_MEMORY_POOL=system: what pyarrow asks for can be refused then");
  arguments->flags.add_to(app);
  return {app, [arguments] { return print_env(*arguments); }};
}

}  // namespace oomguard::tools
