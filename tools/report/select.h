// Which session a person means, and what is known of how it ended.
#pragma once

#include <string>
#include <vector>

#include "collector/record/reader.h"
#include "collector/record/result.h"
#include "collector/record/sessions.h"

namespace oomguard::tools {

// A path of a flight file, or the name of a session in `directory`.
Result<record::Flight> open_named(const std::string& directory, const std::string& name);
// The session with the newest refusal or unexplained end: a kernel that runs for days may be newer
// in this than a script that was started an hour ago.
Result<record::Flight> open_last(const std::string& directory);

// "running", "ended", "ended by a refusal", "became another program", "gone without ending".
const char* state_name(const record::FlightHeader& header);

}  // namespace oomguard::tools
