// The formats of a report, each from the same model.
//
// Thread-safety: none needed, the command has one thread.
#pragma once

#include <string>

#include "collector/record/result.h"
#include "tools/report/model.h"

namespace oomguard::tools {

// The schema's name carries its version; docs/report.schema.json describes it.
inline constexpr const char* kReportSchema = "oomguard.report/6";

// At most 100 columns (a word that is longer, such as a path, stands on a line of its own), without
// a control character; with escape sequences for colours where `colours` says so.
std::string report_text(const Report& report, bool colours);

std::string report_json(const Report& report);

// What would fit of the largest checkpoint that was open, in at most five lines; "" for nothing.
std::string report_fits(const record::Flight& flight);

// One self-contained page. An error where this build has no HTML.
Result<std::string> report_html(const Report& report);

// "outermost;...;innermost BYTES" for each stack that holds something, as flame graph tools read
// it.
std::string report_folded(const Report& report);

// A file of https://www.speedscope.app with one profile for what is held and one for what was
// allocated.
std::string report_speedscope(const Report& report);

}  // namespace oomguard::tools
