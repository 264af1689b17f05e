// `oomguard config`: the value of every option here, and where it comes from.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "tools/command/option_flags.h"
#include "tools/command/printable.h"
#include "tools/command/verb.h"

namespace oomguard::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSchema = "oomguard.config/1";

struct Row {
  const options::Option* option;
  const Setting* setting;

  std::string value() const {
    return setting->from == "default" ? option->fallback : setting->value;
  }
};

std::string as_json(const std::vector<Row>& rows, const options::Files& files) {
  Json all = Json::array();
  for (const Row& row : rows) {
    const bool is_default = row.setting->from == "default";
    all.push_back({{"key", options::key_of(*row.option)},
                   {"variable", row.option->variable},
                   {"value", is_default ? Json(nullptr) : Json(row.setting->value)},
                   {"default", row.option->fallback},
                   {"from", row.setting->from},
                   {"locked", row.setting->locked}});
  }
  const Json page = {{"schema", kSchema},
                     {"files", {files.system, files.user}},
                     {"options", std::move(all)}};
  return page.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string as_text(const std::vector<Row>& rows, const options::Files& files) {
  size_t widest = 0;
  for (const Row& row : rows) widest = std::max(widest, row.value().size());
  std::string text;
  for (const Row& row : rows) {
    std::string key = options::key_of(*row.option);
    std::string value = printable(row.value());
    key.resize(14, ' ');
    value.resize(std::max(value.size(), std::min<size_t>(widest, 48)), ' ');
    text += key + value + "  " + printable(row.setting->from) +
            (row.setting->locked ? ", locked" : "") + "\n";
  }
  return text + "Files: " + files.system + ", " +
         (files.user[0] != '\0' ? printable(files.user) : "none of the user's (no HOME)") + "\n";
}

Result<int> show_config(bool json) {
  const auto settings = read_all_settings(environ);
  if (!settings) return settings.error();
  for (const std::string& line : settings->wrong) fputs(line.c_str(), stderr);
  std::vector<Row> rows;
  for (const options::Option& option : options::kTable) {
    rows.push_back({&option, &settings->of[static_cast<size_t>(option.id)]});
  }
  const options::Files files = options::policy_files(environ);
  fputs((json ? as_json(rows, files) : as_text(rows, files)).c_str(), stdout);
  return 0;
}

}  // namespace

Verb add_config(CLI::App& parent) {
  auto* app = parent.add_subcommand("config", "Show every option's value, and where it comes from");
  app->footer(
      "A later one counts: the default, /etc/oomguard.conf, oomguard.conf in $XDG_CONFIG_HOME (or\n"
      "~/.config), the environment, an option of 'run'. A file has lines KEY = VALUE, and # for\n"
      "comments. What /etc/oomguard.conf has as 'lock KEY = VALUE' cannot be replaced.");
  auto json = std::make_shared<bool>(false);
  app->add_flag("--json", *json, "As JSON");
  return {app, [json] { return show_config(*json); }};
}

}  // namespace oomguard::tools
