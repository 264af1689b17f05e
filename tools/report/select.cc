#include "tools/report/select.h"

#include <sys/wait.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "tools/command/exit_status.h"
#include "tools/report/model.h"

namespace oomguard::tools {
namespace {

// Its process is gone, and did not end by itself as far as it says, or by a signal as others say.
bool is_unexplained(const record::FlightHeader& header) {
  const auto state = static_cast<record::EndState>(header.end_state.load());
  if (state == record::EndState::kAsked) return false;
  if (header.end.has_wait_status != 0) return WIFSIGNALED(header.end.wait_status);
  return state == record::EndState::kRunning && !record::is_running(header);
}

// When it last happened that somebody may want to read of: a refusal, or an end that nobody
// explained. Nothing of both: INT64_MIN.
int64_t newest_event_ns(const record::FlightHeader& header, const record::Flight& flight) {
  int64_t at_ns = INT64_MIN;
  if (!flight.refusals().empty()) at_ns = flight.refusals().back()->at_realtime_ns;
  if (is_unexplained(header))
    at_ns = std::max(at_ns, realtime_of(header, header.last_sample_ns.load()));
  return at_ns;
}

}  // namespace

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
  Result<record::Flight> last =
      Error{"no refusal and no unexplained end is recorded in " + directory, kFailed};
  int64_t newest_ns = INT64_MIN;
  for (const record::SessionFile& session : *sessions) {
    const auto header = record::read_header(session.path);
    if (!header || ((*header)->refusals.load() == 0 && !is_unexplained(**header))) continue;
    auto flight = record::read_flight(session.path);
    if (!flight) continue;
    const int64_t at_ns = newest_event_ns(**header, *flight);
    if (at_ns <= newest_ns) continue;
    newest_ns = at_ns;
    last = std::move(flight);
  }
  return last;
}

const char* state_name(const record::FlightHeader& header) {
  switch (static_cast<record::EndState>(header.end_state.load())) {
    case record::EndState::kClean:
    case record::EndState::kExited:
    case record::EndState::kAsked:
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
