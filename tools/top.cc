// `oomguard top`: the guarded processes that run, live.
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "tools/command/exit_status.h"
#include "tools/command/option_flags.h"
#include "tools/command/verb.h"
#include "tools/top/screen.h"
#include "tools/top/snapshot.h"

namespace oomguard::tools {
namespace {

constexpr const char* kNobody = "no guarded process of yours is running\n";

struct TopArguments {
  std::string directory;
  double interval_s = 1;
  bool once = false;
};

std::string page(const std::vector<Guarded>& processes, size_t columns, size_t rows) {
  return processes.empty() ? kNobody : table_of(processes, columns, rows);
}

Result<int> show_top(const TopArguments& arguments) {
  const auto settings = read_settings(environ);
  if (!settings) return settings.error();
  const std::string directory =
      arguments.directory.empty() ? session_directory(*settings) : arguments.directory;
  if (arguments.once || ::isatty(STDOUT_FILENO) == 0) {
    const auto processes = look_at_running(directory);
    if (!processes) return processes.error();
    printf("%s", page(*processes, SIZE_MAX, 0).c_str());
    return kOk;
  }
  Screen screen;
  do {
    const auto processes = look_at_running(directory);
    if (!processes) return processes.error();
    screen.draw(page(*processes, screen.columns(), screen.rows() - 1));
  } while (screen.wait(arguments.interval_s));
  return kOk;
}

}  // namespace

Verb add_top(CLI::App& parent) {
  auto* app = parent.add_subcommand("top", "Watch the guarded processes that run; 'q' ends it");
  auto arguments = std::make_shared<TopArguments>();
  app->add_flag("--once", arguments->once,
                "Print one table and end; so it is where the output is no terminal");
  app->add_option("--interval", arguments->interval_s, "How often it looks, from 0.1 on")
      ->check(CLI::Range(0.1, 3600.0))
      ->option_text("SECONDS [1]");
  app->add_option("--dir", arguments->directory, "Folder of sessions, if not the usual one")
      ->option_text("DIR");
  return {app, [arguments] { return show_top(*arguments); }};
}

}  // namespace oomguard::tools
