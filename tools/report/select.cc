#include "tools/report/select.h"

#include <filesystem>
#include <system_error>

#include "tools/command/exit_status.h"

namespace oomguard::tools {

Result<record::Flight> open_named(const std::string& directory, const std::string& name) {
  const auto sessions = record::list_sessions(directory);
  if (sessions) {
    for (const record::SessionFile& session : *sessions) {
      if (session.name == name) return record::read_flight(session.path);
    }
  }
  std::error_code error;
  if (std::filesystem::exists(name, error)) return record::read_flight(name);
  return Error{"'" + name + "' is neither a file nor a session in " + directory + "; see --list",
               kFailed};
}

Result<record::Flight> open_last(const std::string& directory) {
  const auto sessions = record::list_sessions(directory);
  if (!sessions) return sessions.error();
  Result<record::Flight> last = Error{"no refusal is recorded in " + directory, kFailed};
  int64_t newest_ns = INT64_MIN;
  for (const record::SessionFile& session : *sessions) {
    const auto header = record::read_header(session.path);
    if (!header || (*header)->refusals.load() == 0) continue;
    auto flight = record::read_flight(session.path);
    if (!flight || flight->refusals().empty()) continue;
    const int64_t at_ns = flight->refusals().back()->at_realtime_ns;
    if (last && at_ns <= newest_ns) continue;
    newest_ns = at_ns;
    last = std::move(flight);
  }
  return last;
}

const char* state_name(const record::FlightHeader& header) {
  switch (static_cast<record::EndState>(header.end_state.load())) {
    case record::EndState::kClean:
      return "ended";
    case record::EndState::kEndedByRefusal:
      return "ended by a refusal";
    case record::EndState::kExecuted:
      return "became another program";
    case record::EndState::kRunning:
      break;
  }
  return record::is_running(header) ? "running" : "gone without ending";
}

}  // namespace oomguard::tools
