// A session as JSON, every number of it; the schema's name carries its version.
#pragma once

#include <string>

#include "collector/record/reader.h"

namespace oomguard::tools {

inline constexpr const char* kReportSchema = "oomguard.report/1";

std::string report_json(const record::Flight& flight);

}  // namespace oomguard::tools
