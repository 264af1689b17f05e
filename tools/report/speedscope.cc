#include <nlohmann/json.hpp>

#include "tools/report/formats.h"

namespace oomguard::tools {
namespace {

using Json = nlohmann::ordered_json;

Json frames_json(const Report& report) {
  Json frames = Json::array();
  for (const Frame& frame : report.frames.all()) {
    Json one = {
        {"name", frame.function.empty() ? place_of(*report.flight, frame) : frame.function}};
    if (!frame.file.empty()) one["file"] = frame.file;
    if (frame.line > 0) one["line"] = frame.line;
    frames.push_back(std::move(one));
  }
  // Every stack needs a frame.
  frames.push_back({{"name", "(no frame known)"}});
  return frames;
}

Json profile(const Report& report, const std::string& name, int64_t Held::* bytes) {
  Json samples = Json::array();
  Json weights = Json::array();
  int64_t total = 0;
  for (const SiteStacks& site : report.sites) {
    const int64_t weight = site.held.*bytes;
    if (weight <= 0) continue;
    std::vector<int> stack = report.merged.frames_of(site.merged);
    if (stack.empty()) stack.push_back(static_cast<int>(report.frames.all().size()));
    samples.push_back(std::move(stack));
    weights.push_back(weight);
    total += weight;
  }
  return {{"type", "sampled"}, {"name", name},       {"unit", "bytes"},   {"startValue", 0},
          {"endValue", total}, {"samples", samples}, {"weights", weights}};
}

}  // namespace

std::string report_speedscope(const Report& report) {
  const record::FlightHeader& header = report.header();
  Json profiles =
      Json::array({profile(report, "held " + std::string(report.held_when), report.held)});
  if (report.held != &Held::live_bytes) {
    profiles.push_back(profile(report, report.running ? "held now" : "held when seen last",
                               &Held::live_bytes));
  }
  profiles.push_back(profile(report, "allocated since the start", &Held::allocated_bytes));
  const Json file = {
      {"$schema", "https://www.speedscope.app/file-format-schema.json"},
      {"shared", {{"frames", frames_json(report)}}},
      {"profiles", profiles},
      {"name",
       std::string("oomguard: ") + (header.command[0] != '\0' ? header.command : header.program)},
      {"activeProfileIndex", 0},
      {"exporter", "oomguard@" OOMGUARD_VERSION}};
  return file.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace oomguard::tools
