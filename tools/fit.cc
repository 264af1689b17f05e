// `oomguard fit`: what loading a checkpoint takes, for each way of doing it, and which ways fit.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "collector/fit/predict.h"
#include "collector/fit/source.h"
#include "collector/probe/probe.h"
#include "tools/command/exit_status.h"
#include "tools/command/option_flags.h"
#include "tools/command/verb.h"
#include "tools/fit/output.h"
#include "tools/report/amount.h"

namespace oomguard::tools {
namespace {

namespace fs = std::filesystem;

struct FitArguments {
  std::string model;
  std::string limit;
  std::vector<std::string> gpus;
  std::string train;
  bool json = false;
};

// What the kernel leaves this process, as `oomguard limits` shows it.
Result<int64_t> room_now() {
  const auto settings = read_settings(environ);
  if (!settings) return settings.error();
  const auto probe = std::make_unique<probe::Probe>();
  probe::Config config;
  if (settings->budget_bytes >= 0) config.budget.bytes = settings->budget_bytes;
  config.budget.share_permille = settings->budget_share_permille;
  probe::Reading reading;
  if (!probe->open(config) || !probe->read(probe::Depth::kFull, &reading)) {
    return Error{"no limit of this process can be read; give one with --limit", kFailed};
  }
  return probe::headroom(reading, settings->swap_share_permille).bytes;
}

std::string variable(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

// Where the hub's client keeps models (huggingface_hub's constants).
fs::path hub_cache() {
  if (const std::string path = variable("HF_HUB_CACHE"); !path.empty()) return path;
  if (const std::string path = variable("HF_HOME"); !path.empty()) return fs::path(path) / "hub";
  const std::string cache = variable("XDG_CACHE_HOME");
  return (cache.empty() ? fs::path(variable("HOME")) / ".cache" : fs::path(cache)) /
         "huggingface/hub";
}

// The folder of a model that is named as on the hub and is in its cache; else `name` itself.
std::string model_path(const std::string& name) {
  std::error_code error;
  const size_t slash = name.find('/');
  if (fs::exists(name, error) || slash == 0 || slash == std::string::npos ||
      name.find('/', slash + 1) != std::string::npos) {
    return name;
  }
  const fs::path model =
      hub_cache() / ("models--" + name.substr(0, slash) + "--" + name.substr(slash + 1));
  const auto main = fit::Source::open(model / "refs" / "main");
  std::string revision;
  if (!main || !main->read_all(256, &revision)) return name;
  while (!revision.empty() && revision.back() == '\n') revision.pop_back();
  const fs::path snapshot = model / "snapshots" / revision;
  const bool plain = revision.find('/') == std::string::npos && fs::is_directory(snapshot, error);
  return plain ? snapshot.string() : name;
}

Result<int64_t> size_of(const char* option, const std::string& text) {
  int64_t bytes = 0;
  if (options::parse_bytes(text.c_str(), &bytes) && bytes > 0) return bytes;
  return Error{std::string(option) + ": '" + text + "' is not accepted; accepted: a size (32G)",
               kBadUsage};
}

Result<int> show_fit(const FitArguments& arguments) {
  if (!arguments.train.empty() && arguments.train != "adamw") {
    return Error{"--train: '" + arguments.train + "' is not accepted; accepted: adamw", kBadUsage};
  }
  FitPage page;
  page.train = !arguments.train.empty();
  page.planned = !arguments.limit.empty();
  const auto left = page.planned ? size_of("--limit", arguments.limit) : room_now();
  if (!left) return left.error();
  page.left = *left;
  for (const std::string& text : arguments.gpus) {
    const auto bytes = size_of("--gpu", text);
    if (!bytes) return bytes.error();
    page.room.gpus.push_back(*bytes);
  }
  page.room.host =
      page.left == INT64_MAX ? INT64_MAX : std::max<int64_t>(page.left - fit::kImports, 0);
  auto checkpoint = fit::open_checkpoint(model_path(arguments.model));
  if (!checkpoint) return checkpoint.error();
  page.checkpoint = std::move(*checkpoint);
  page.outcomes = fit::predict(page.checkpoint, page.room, page.train);
  printf("%s", (arguments.json ? fit_json(page) : fit_text(page)).c_str());
  return kOk;
}

}  // namespace

Verb add_fit(CLI::App& parent) {
  auto* app = parent.add_subcommand(
      "fit", "Predict what loading a model takes, for each way of loading it, and what fits");
  app->footer(
      "MODEL is a folder of transformers or diffusers, a .safetensors, .bin, .pt or .gguf file,\n"
      "an index.json, or the name of a model in the hub's cache (org/name). Only the headers of\n"
      "its files are read. What leaves less than 64 MiB does not fit. Formulas and how far they\n"
      "were checked: docs/fit.md");
  auto arguments = std::make_shared<FitArguments>();
  app->add_option("model", arguments->model, "The model's folder, file or name")
      ->option_text("MODEL")
      ->required();
  app->add_option("--limit", arguments->limit,
                  "Plan for a machine or container with that much memory left, instead of this one")
      ->option_text("SIZE");
  app->add_option("--gpu", arguments->gpus, "Free memory of each GPU (24G, or 24G,24G)")
      ->delimiter(',')
      ->option_text("SIZE[,SIZE]");
  app->add_option("--train", arguments->train, "Training with that optimizer instead: adamw")
      ->option_text("OPTIMIZER");
  app->add_flag("--json", arguments->json, "As JSON, every number in bytes");
  return {app, [arguments] { return show_fit(*arguments); }};
}

}  // namespace oomguard::tools
