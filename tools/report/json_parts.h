// The two halves of a report as JSON (json.cc puts them together).
#pragma once

#include <nlohmann/json.hpp>

#include "tools/report/model.h"

namespace oomguard::tools {

using Json = nlohmann::ordered_json;

inline Json number_or_null(int64_t value, int64_t nothing) {
  return value == nothing ? Json(nullptr) : Json(value);
}

Json session_json(const record::FlightHeader& header, const std::string& path);
Json refusals_json(const record::Flight& flight);

Json samples_json(const record::Flight& flight);
Json frames_json(const Report& report);
Json stacks_json(const Report& report);
Json sites_json(const Report& report);
Json lines_json(const Report& report);
Json modules_json(const record::Flight& flight);
Json model_files_json(const record::Flight& flight);
Json fits_json(const Report& report);

}  // namespace oomguard::tools
