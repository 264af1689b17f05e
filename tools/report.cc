// `oomguard report`: what was recorded of a session, in one of several formats.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "collector/record/sessions.h"
#include "tools/command/exit_status.h"
#include "tools/command/option_flags.h"
#include "tools/command/verb.h"
#include "tools/report/death.h"
#include "tools/report/formats.h"
#include "tools/report/listing.h"
#include "tools/report/output.h"
#include "tools/report/replaced.h"
#include "tools/report/select.h"

namespace oomguard::tools {
namespace {

constexpr const char* kFormats = "text, html, json, folded, speedscope, or fits";

struct ReportArguments {
  std::string session;
  std::string directory;
  std::string format = "text";
  std::string output;
  std::string successor;
  bool last = false;
  bool list = false;
};

// A terminal that is not told otherwise (https://no-color.org).
bool wants_colours(const ReportArguments& arguments) {
  const char* terminal = getenv("TERM");
  const char* no_color = getenv("NO_COLOR");
  return arguments.output.empty() && isatty(STDOUT_FILENO) != 0 && terminal != nullptr &&
         strcmp(terminal, "dumb") != 0 && (no_color == nullptr || no_color[0] == '\0');
}

Result<std::string> list_all(const std::string& directory) {
  const auto sessions = list_by_tree(directory);
  if (!sessions) return sessions.error();
  if (sessions->empty()) return Error{"no session is recorded in " + directory, kFailed};
  std::string text = listing_head();
  for (const Listed& session : *sessions) text += listed_line(session, session.depth);
  return text;
}

Result<std::string> rendered(const ReportArguments& arguments, const std::string& directory) {
  const auto flight =
      arguments.session.empty() ? open_last(directory) : open_named(directory, arguments.session);
  if (!flight) return flight.error();
  if (arguments.format == "fits") return report_fits(*flight);
  Report report = make_report(*flight);
  put_death(explain_death(*flight), &report);
  if (arguments.format == "html") return report_html(report);
  if (arguments.format == "json") return report_json(report);
  if (arguments.format == "folded") return report_folded(report);
  if (arguments.format == "speedscope") return report_speedscope(report);
  return report_text(report, wants_colours(arguments)) + children_text(directory, *flight);
}

bool is_format(const std::string& name) {
  for (const char* known : {"text", "html", "json", "folded", "speedscope", "fits"}) {
    if (name == known) return true;
  }
  return false;
}

Result<int> show_report(const ReportArguments& arguments) {
  if (!is_format(arguments.format)) {
    return Error{"--format: '" + arguments.format + "' is not accepted; accepted: " + kFormats,
                 kBadUsage};
  }
  const auto settings = read_settings(environ);
  if (!settings) return settings.error();
  const std::string directory =
      arguments.directory.empty() ? session_directory(*settings) : arguments.directory;
  record::prune_sessions(directory, {});
  const auto text = !arguments.successor.empty() ? replaced_kernel(directory, arguments.successor)
                    : arguments.list             ? list_all(directory)
                                                 : rendered(arguments, directory);
  if (!text) return text.error();
  if (arguments.output.empty() || arguments.output == "-") {
    fwrite(text->data(), 1, text->size(), stdout);
    return kOk;
  }
  const auto written = write_whole(arguments.output, *text);
  if (!written) return written.error();
  return kOk;
}

}  // namespace

Verb add_report(CLI::App& parent) {
  auto* app =
      parent.add_subcommand("report", "Show what was recorded of a session and its refusals");
  auto arguments = std::make_shared<ReportArguments>();
  auto* session = app->add_option("SESSION", arguments->session,
                                  "A session's name (see --list) or a flight file");
  auto* last =
      app->add_flag("--last", arguments->last,
                    "The session with the newest refusal or unexplained end (default)");
  auto* list =
      app->add_flag("--list", arguments->list,
                    "List the recorded sessions, children under the process that started them");
  session->excludes(last);
  list->excludes(session);
  list->excludes(last);
  app->add_option("--replaced-by", arguments->successor,
                  "Of what died before the kernel with this connection file started: what that "
                  "kernel shows, as JSON. Once")
      ->option_text("FILE")
      ->excludes(session)
      ->excludes(last)
      ->excludes(list);
  app->add_option("--format", arguments->format, kFormats)->option_text("FORMAT [text]");
  app->add_option("-o,--output", arguments->output,
                  "Write to this file, readable by you alone, instead of standard output")
      ->option_text("FILE");
  app->add_option("--dir", arguments->directory, "Folder of sessions, if not the usual one")
      ->option_text("DIR");
  return {app, [arguments] { return show_report(*arguments); }};
}

}  // namespace oomguard::tools
