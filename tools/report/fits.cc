#include "tools/report/fits.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <ranges>
#include <system_error>
#include <utility>

#include "collector/fit/predict.h"
#include "collector/probe/checkpoint_name.h"
#include "collector/record/text_parts.h"
#include "tools/report/amount.h"
#include "tools/report/by_child.h"
#include "tools/report/formats.h"
#include "tools/report/page_text.h"

namespace oomguard::tools {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr int64_t kNsPerSecond = 1'000'000'000;
constexpr int64_t kLoadingNs = 30 * kNsPerSecond;
constexpr int64_t kBeforeNs = 60 * kNsPerSecond;
constexpr size_t kMostCheckpoints = 2;
constexpr size_t kMostEntries = 1000;
constexpr size_t kMostFitting = 3;  // of them are named
constexpr std::chrono::seconds kLongestLook{2};

// The limit that binds, and what others hold of it: at the newest refusal, else at the newest
// sample.
int64_t room_of(const record::Flight& flight) {
  int64_t limit = INT64_MAX;
  int64_t used = 0;
  int64_t own = 0;
  if (!flight.refusals().empty()) {
    const record::Facts facts = record::facts_of(*flight.refusals().back());
    if (facts.limit != nullptr) {
      limit = facts.limit->limit_bytes;
      used = record::in_use_bytes(*facts.limit);
    }
    own = record::own_bytes(facts.refusal);
  } else if (!flight.samples().empty()) {
    const record::Sample& sample = flight.samples().back();
    limit = sample.limit_bytes;
    used = sample.needed_bytes;
    own = sample.own_anonymous_bytes;
  } else {
    limit = flight.header().limit_bytes;
  }
  if (limit == INT64_MAX || limit < 0) return INT64_MAX;
  const int64_t others = std::clamp<int64_t>(used, 0, limit) - std::clamp<int64_t>(own, 0, limit);
  return limit - std::max<int64_t>(others, 0);
}

// What the process held beside the load: the least within the last minute, and its imports.
int64_t held_before(const record::Flight& flight) {
  int64_t least = INT64_MAX;
  if (!flight.samples().empty()) {
    const int64_t last = flight.samples().back().at_monotonic_ns;
    for (const record::Sample& sample : flight.samples()) {
      if (last - sample.at_monotonic_ns > kBeforeNs) continue;
      least = std::min(least, sample.own_anonymous_bytes);
    }
  }
  return std::max(fit::kImports, least == INT64_MAX ? 0 : least);
}

// In whose frames the weights are made; of version 5 where that is not known.
fit::Library transformers_of(const record::Flight& flight) {
  bool is_4 = false;
  for (const record::Site& site : flight.sites()) {
    for (const record::PythonFrame& frame : flight.python_stack(site)) {
      if (frame.file.ends_with("/transformers/core_model_loading.py")) {
        return fit::Library::kTransformers5;
      }
      is_4 = is_4 || frame.file.ends_with("/transformers/modeling_utils.py");
    }
  }
  return is_4 ? fit::Library::kTransformers4 : fit::Library::kTransformers5;
}

// The link of the hub's client that has this blob's content.
fs::path link_of(const fs::path& blob) {
  std::error_code error;
  size_t looked = 0;
  fs::recursive_directory_iterator at(blob.parent_path().parent_path() / "snapshots", error);
  for (const fs::recursive_directory_iterator end; !error && at != end; at.increment(error)) {
    if (++looked > kMostEntries) break;
    if (at.depth() > 2) at.disable_recursion_pending();
    if (!at->is_symlink(error)) continue;
    if (fs::read_symlink(at->path(), error).filename() == blob.filename()) {
      return at->path();
    }
  }
  return {};
}

// The checkpoint that a weight file belongs to.
fs::path checkpoint_of(const fs::path& file) {
  const fs::path folder = file.parent_path();
  std::error_code error;
  const bool component = fs::is_regular_file(folder.parent_path() / "model_index.json", error);
  return component ? folder.parent_path() : folder;
}

using Sizes = std::map<std::string, int64_t>;  // bytes of files, by their paths
int64_t sum_of(const Sizes& sizes) {
  int64_t sum = 0;
  for (const auto& [path, bytes] : sizes) {
    if (__builtin_add_overflow(sum, bytes, &sum)) return INT64_MAX;
  }
  return sum;
}

// The files of each folder that were open lately, the most bytes first.
std::vector<std::pair<fs::path, Sizes>> open_files(const record::Flight& flight) {
  std::map<fs::path, Sizes> folders;
  const int64_t since =
      flight.samples().empty() ? INT64_MIN : flight.samples().back().at_monotonic_ns - kLoadingNs;
  for (const record::ModelFile& file : flight.model_files()) {
    if (file.path.empty() || file.size_bytes <= 0 || file.seen_monotonic_ns < since) continue;
    const bool blob = probe::is_hub_blob(file.path.c_str());
    const fs::path path = blob ? link_of(file.path) : fs::path(file.path);
    if (!path.empty()) folders[checkpoint_of(path)][path] = file.size_bytes;
  }
  std::vector<std::pair<fs::path, Sizes>> all(folders.begin(), folders.end());
  std::ranges::stable_sort(all, std::ranges::greater{},
                           [](const auto& one) { return sum_of(one.second); });
  return all;
}

// Those of `sizes` that are the checkpoint's, or one of its variants'.
Sizes files_of(const fit::Checkpoint& checkpoint, const Sizes& sizes) {
  Sizes own;
  for (const fit::Checkpoint& variant : checkpoint.variants) {
    own.merge(files_of(variant, sizes));
  }
  for (const fit::Part& part : checkpoint.parts) {
    for (const fit::File& file : part.files) {
      if (const auto found = sizes.find(file.path); found != sizes.end()) own.insert(*found);
    }
  }
  return own;
}

void put_ways(const fit::Checkpoint& checkpoint, int64_t held, fit::Library transformers,
              Fit* fit) {
  fit::Room room;
  if (fit->room_bytes != INT64_MAX) room.host = std::max<int64_t>(fit->room_bytes - held, 0);
  const std::vector<fit::Outcome> outcomes = fit::predict(checkpoint, room, false);
  if (outcomes.empty()) return;
  fit::Library library = outcomes.front().way.library;
  if (library == fit::Library::kTransformers5) library = transformers;
  for (const fit::Outcome* one : fit::ranked(outcomes, library)) {
    const bool odd = one->way.low_cpu_mem || !one->way.mapped;
    if (odd && checkpoint.layout == fit::Layout::kTransformers) continue;
    int64_t bytes = 0;
    if (__builtin_add_overflow(one->need.anonymous, held, &bytes)) bytes = INT64_MAX;
    fit->ways.push_back({fit::arguments_of(one->way, checkpoint, room), bytes,
                         one->verdict != fit::Verdict::kDoesNotFit, one->read_again});
  }
}

std::vector<Fit> look(const record::Flight& flight) {
  const auto until = fit::Clock::now() + std::chrono::seconds(1);
  std::vector<Fit> fits;
  for (const auto& [folder, sizes] : open_files(flight)) {
    if (fits.size() == kMostCheckpoints) break;
    const auto names = std::views::keys(sizes);
    const auto checkpoint = fit::open_checkpoint(folder, until, {names.begin(), names.end()});
    if (!checkpoint) continue;
    Fit fit{folder, sum_of(files_of(*checkpoint, sizes)), room_of(flight), {}};
    if (fit.size_bytes == 0) continue;  // what was open is other files beside it
    put_ways(*checkpoint, held_before(flight), transformers_of(flight), &fit);
    if (!fit.ways.empty()) fits.push_back(std::move(fit));
  }
  return fits;
}

// As bytes and back, of a child: CBOR, because paths may be no UTF-8.
std::string packed(const std::vector<Fit>& fits) {
  Json all = Json::array();
  for (const Fit& fit : fits) {
    Json ways = Json::array();
    for (const Way& way : fit.ways) {
      ways.push_back({way.how, way.bytes, way.fits, way.read_again});
    }
    all.push_back({fit.folder, fit.size_bytes, fit.room_bytes, std::move(ways)});
  }
  std::string text;
  Json::to_cbor(all, text);
  return text;
}

std::vector<Fit> unpacked(const std::string& text) {
  const Json all = Json::from_cbor(text, true, false);
  std::vector<Fit> fits;
  if (!all.is_array()) return fits;  // the child was cut off
  for (const Json& one : all) {
    Fit fit{one[0], one[1], one[2], {}};
    for (const Json& way : one[3]) fit.ways.push_back({way[0], way[1], way[2], way[3]});
    fits.push_back(std::move(fit));
  }
  return fits;
}

std::string predicted(int64_t bytes) { return "~" + amount(bytes); }

}  // namespace

std::vector<Fit> what_would_fit(const record::Flight& flight) {
  if (flight.model_files().empty()) return {};
  return unpacked(made_by_child([&] { return packed(look(flight)); }, kLongestLook));
}

std::vector<std::string> advice_of(const Fit& fit) {
  const auto fits = [](const Way& way) { return way.fits; };
  if (fit.room_bytes == INT64_MAX || std::ranges::all_of(fit.ways, fits)) return {};
  std::vector<std::string> lines;
  const bool whole = fit.ways.front().fits && fit.ways.front().read_again == 0;
  for (const Way& way : fit.ways) {
    if (!way.fits || lines.size() == kMostFitting || (way.read_again != 0 && whole)) continue;
    lines.push_back("Fits:  " + shown(way.how) + ": " + predicted(way.bytes) +
                    (way.read_again == 0 ? ""
                                         : ", and " + predicted(way.read_again) +
                                               " read from disk on each pass (slow)"));
  }
  if (lines.empty()) lines.push_back("Fits:  nothing; there is room for " + amount(fit.room_bytes));
  std::vector<Way> others = fit.ways;
  std::erase_if(others, fits);
  std::ranges::stable_sort(others, {}, &Way::bytes);
  std::string text;
  for (const Way& way : others) {
    text += (text.empty() ? "Not:   " : ", ") + shown(way.how) + " " + predicted(way.bytes);
  }
  lines.push_back(text);
  return lines;
}

std::vector<std::string> told_of_checkpoint(const record::Flight& flight, const Death& death) {
  if (!death.is_about_memory) return {};
  for (const Fit& fit : what_would_fit(flight)) {
    std::vector<std::string> lines = advice_of(fit);
    if (lines.empty()) continue;
    const std::string name = fs::path(fit.folder).filename().string();
    lines.insert(lines.begin(), "Checkpoint " + shown(name) + ": " + amount(fit.size_bytes) +
                                    ", and room for " + amount(fit.room_bytes) + ".");
    return lines;
  }
  return {};
}

std::string report_fits(const record::Flight& flight) {
  for (const Fit& fit : what_would_fit(flight)) {
    std::string text;
    for (const std::string& line : advice_of(fit)) text += line + "\n";
    if (!text.empty()) return text;
  }
  return "";
}

}  // namespace oomguard::tools
