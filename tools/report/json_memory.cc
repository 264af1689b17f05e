// The timeline, the stacks and what they hold, as JSON. Tables are objects of columns: short, and
// what dataframes are made from.
#include "tools/report/json_parts.h"

namespace oomguard::tools {
namespace {

template <typename Row, typename Value>
Json column(const std::vector<Row>& rows, Value value) {
  Json cells = Json::array();
  for (const Row& row : rows) cells.push_back(value(row));
  return cells;
}

Json tree_json(const Stacks& stacks) {
  return {{"parent", stacks.parents()}, {"frame", stacks.frames()}};
}

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

void put_held(Json* out, const Held& held) {
  (*out)["live_bytes"] = held.live_bytes;
  (*out)["live_blocks"] = held.live_blocks;
  (*out)["allocated_bytes"] = held.allocated_bytes;
  (*out)["allocated_blocks"] = held.allocated_blocks;
  (*out)["untouched_bytes"] = held.untouched_bytes;
  (*out)["refused_bytes"] = held.refused_bytes;
}

}  // namespace

Json samples_json(const record::Flight& flight) {
  using record::Sample;
  const auto& samples = flight.samples();
  const auto known = [&](int64_t Sample::* member) {
    return column(samples, [=](const Sample& one) { return number_or_null(one.*member, -1); });
  };
  return {{"at_realtime_ns", column(samples,
                                    [&](const Sample& one) {
                                      return realtime_of(flight.header(), one.at_monotonic_ns);
                                    })},
          {"needed_bytes", known(&Sample::needed_bytes)},
          {"reclaimable_bytes", known(&Sample::reclaimable_bytes)},
          {"limit_bytes", column(samples,
                                 [](const Sample& one) {
                                   return one.limit_bytes < 0
                                              ? Json(nullptr)
                                              : number_or_null(one.limit_bytes, INT64_MAX);
                                 })},
          {"headroom_bytes",
           column(samples,
                  [](const Sample& one) { return number_or_null(one.headroom_bytes, INT64_MAX); })},
          {"own_anonymous_bytes", known(&Sample::own_anonymous_bytes)},
          {"pending_bytes", known(&Sample::pending_bytes)},
          {"in_flight_bytes", known(&Sample::in_flight_bytes)},
          {"spill_bytes", known(&Sample::spill_bytes)},
          {"live_sampled_bytes", known(&Sample::live_sampled_bytes)},
          {"refusals", column(samples, [](const Sample& one) { return one.refusals; })}};
}

Json frames_json(const Report& report) {
  return column(report.frames.all(), [&](const Frame& frame) {
    return Json{{"kind", frame.python ? "python" : "native"},
                {"file", frame.file},
                {"line", frame.line},
                {"function", frame.function},
                {"own", frame.own},
                {"inlined", frame.inlined},
                {"module", frame.module < 0 ? Json(nullptr) : Json(frame.module)},
                {"offset", frame.offset == 0 ? Json(nullptr) : Json(frame.offset)},
                {"place", place_of(*report.flight, frame)},
                {"label", label_of(*report.flight, frame)}};
  });
}

Json stacks_json(const Report& report) {
  return {{"python", tree_json(report.python)},
          {"native", tree_json(report.native)},
          {"merged", tree_json(report.merged)}};
}

Json sites_json(const Report& report) {
  const auto held = [&](int64_t Held::* member) {
    return column(report.sites, [=](const SiteStacks& site) { return site.held.*member; });
  };
  const auto leaf = [&](int SiteStacks::* member) {
    return column(report.sites, [=](const SiteStacks& site) { return site.*member; });
  };
  return {{"python", leaf(&SiteStacks::python)},
          {"native", leaf(&SiteStacks::native)},
          {"merged", leaf(&SiteStacks::merged)},
          {"live_bytes", held(&Held::live_bytes)},
          {"live_blocks", held(&Held::live_blocks)},
          {"allocated_bytes", held(&Held::allocated_bytes)},
          {"allocated_blocks", held(&Held::allocated_blocks)},
          {"untouched_bytes", held(&Held::untouched_bytes)},
          {"refused_bytes", held(&Held::refused_bytes)}};
}

Json lines_json(const Report& report) {
  return column(report.lines, [](const Line& line) {
    Json one = {{"frame", line.frame < 0 ? Json(nullptr) : Json(line.frame)},
                {"source", line.source},
                {"stacks", line.stacks}};
    put_held(&one, line.held);
    return one;
  });
}

Json modules_json(const record::Flight& flight) {
  return column(flight.modules(), [](const record::Module& module) {
    return Json{{"path", module.path}, {"build_id", text_or_null(module.build_id)}};
  });
}

Json model_files_json(const record::Flight& flight) {
  return column(flight.model_files(), [&](const record::ModelFile& file) {
    return Json{{"path", file.path},
                {"size_bytes", file.size_bytes},
                {"mapped_bytes", file.mapped_bytes},
                {"seen_realtime_ns", realtime_of(flight.header(), file.seen_monotonic_ns)}};
  });
}

Json fits_json(const Report& report) {
  return column(report.fits, [](const Fit& fit) {
    return Json{{"folder", fit.folder},
                {"size_bytes", fit.size_bytes},
                {"room_bytes", number_or_null(fit.room_bytes, INT64_MAX)},
                {"ways", column(fit.ways, [](const Way& way) {
                   return Json{{"how", way.how},
                               {"bytes", way.bytes},
                               {"fits", way.fits},
                               {"read_again_bytes", way.read_again}};
                 })}};
  });
}

}  // namespace oomguard::tools
