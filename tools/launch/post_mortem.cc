#include "tools/launch/post_mortem.h"

#include <signal.h>
#include <sys/wait.h>

#include <cstdio>
#include <ctime>
#include <filesystem>

#include "collector/probe/probe.h"
#include "collector/record/kill_counts.h"
#include "collector/record/sessions.h"
#include "tools/report/death.h"
#include "tools/report/fits.h"
#include "tools/report/page_text.h"
#include "tools/report/panel.h"
#include "tools/report/pod.h"

namespace oomguard::tools {
namespace {

constexpr size_t kLongestCommand = 80;

// Somebody wanted it to end, and knows.
bool was_asked_for(const Ended& ended) {
  const int signal = WTERMSIG(ended.wait_status);
  return signal == SIGINT || signal == SIGPIPE || signal == ended.passed.number;
}

record::Ending ending_of(const Ended& ended) {
  record::Ending ending;
  ending.has_wait_status = true;
  ending.wait_status = ended.wait_status;
  if (WIFSIGNALED(ended.wait_status) && WTERMSIG(ended.wait_status) == ended.passed.number) {
    ending.sender_pid = ended.passed.sender;
    ending.sender_name = ended.passed.name;
  }
  return ending;
}

void say(const std::string& name, pid_t pid, const Death& death, const record::Flight* flight) {
  std::string text = "oomguard: " + shortened(shown(name), kLongestCommand, true) + " (process " +
                     std::to_string(pid) + ") " + death.what + " at " +
                     time_of_day(death.at_realtime_ns) + ".\n" + shown(death.cause) + "\n";
  for (const std::string& line : death.more) text += shown(line) + "\n";
  fputs(text.c_str(), stderr);
  if (flight == nullptr) return;
  text.clear();
  for (const std::string& line : told_of_checkpoint(*flight, death)) text += line + "\n";
  text += "More: oomguard report " + std::filesystem::path(flight->path()).stem().string() + "\n";
  fputs(text.c_str(), stderr);
}

}  // namespace

PostMortem::PostMortem(std::string directory)
    : directory_(std::move(directory)),
      since_seconds_(::time(nullptr)),
      seen_(std::make_unique<record::FlightHeader>()) {
  probe::Probe probe;
  if (probe.open({})) record::put_kill_counts(seen_.get(), probe, true);
}

std::string PostMortem::session_of(pid_t pid) const {
  const auto sessions = record::list_sessions(directory_);
  if (!sessions) return "";
  for (const record::SessionFile& session : *sessions) {
    if (session.pid == pid && session.start_seconds >= since_seconds_) return session.path;
  }
  return "";
}

void PostMortem::after(const std::string& program, const Ended& ended) {
  const std::string session = session_of(ended.pid);
  const auto header = record::read_header(session);
  if (header) {
    const auto state = static_cast<record::EndState>((*header)->end_state.load());
    ended_by_refusal_ = state == record::EndState::kEndedByRefusal;
  }
  if (WIFSIGNALED(ended.wait_status)) {
    explain(program, ended, session);
  } else if (header) {
    record::put_end(header->get(), ending_of(ended));
    static_cast<void>(record::write_end(session, **header));
  }
}

void PostMortem::explain(const std::string& program, const Ended& ended,
                         const std::string& session) {
  const auto flight = record::read_flight(session);
  const record::Ending ending = ending_of(ended);
  seen_->pid = ended.pid;
  const Death death =
      flight ? explain_end(*flight, ending, seen_.get()) : explain_end(seen_.get(), ending);
  if (was_asked_for(ended) || ended_by_refusal_ || !death.is_to_explain()) return;
  const bool named = flight && flight->header().command[0] != '\0';
  say(named ? flight->header().command : program, ended.pid, death,
      flight ? &*flight : nullptr);
  put_in_termination_log("oomguard: " + shown(std::filesystem::path(program).filename().string()) +
                         " " + death.what + ". " + shown(death.cause_without_paths) + "\n");
}

}  // namespace oomguard::tools
