#include "shim/core/session.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "collector/probe/syscall.h"
#include "collector/record/text.h"
#include "collector/record/writer.h"
#include "shim/core/copy_text.h"
#include "shim/core/early_crash.h"

namespace oomguard::session {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// Used until the session starts, and where there are no addresses for more; it has no sections.
constinit record::FlightFile g_early = {};
constinit const record::View g_early_view{.file = &g_early};
constinit record::View g_own_view = {};
constinit std::atomic<const record::View*> g_view{&g_early_view};
constinit char g_path[record::kMaxSessionPath] = "";
constinit char g_directory[256] = "";
constinit char g_limit_path[256] = "";
constinit record::Start g_start = {};
constinit std::atomic<bool> g_child_without_file{false};
constinit std::atomic<uint32_t> g_moves{0};
constinit std::atomic<uint64_t> g_due_report{0};  // number of a refusal; 0: none
constinit std::atomic<int64_t> g_shown_ns{0};
constexpr size_t kReportBytes = 4000;  // less than PIPE_BUF
// A program that goes on past its limit, frees and comes back would fill its stderr.
constexpr int64_t kReportEveryNs = 10'000'000'000;

bool own_process() noexcept {
  return file()->header.pid == static_cast<int32_t>(sys::call(SYS_getpid));
}

// What a relative recorded in memory is not this process's.
void forget_early() noexcept {
  record::FlightHeader& header = g_early.header;
  if (header.refusals.exchange(0, kRelaxed) == 0) return;  // keeps untouched pages untouched
  header.incidents.store(0, kRelaxed);
  header.surfaced.store(0, kRelaxed);
  for (record::RefusalRecord& refusal : g_early.refusals) refusal.sequence.store(0, kRelaxed);
}

void use(record::FlightFile* made) noexcept {
  g_own_view = record::view_of(made);
  g_view.store(&g_own_view, std::memory_order_release);
}

void use_early() noexcept {
  g_early.header.pid = static_cast<int32_t>(sys::call(SYS_getpid));
  g_early.header.limit_bytes = g_start.limit_bytes;
  g_early.header.reserve_bytes = g_start.reserve_bytes;
  g_view.store(&g_early_view, std::memory_order_release);
}

// The program's stderr in a thread that has another table of descriptors. Before Linux 5.6 it is
// opened once more, which a socket does not allow.
int copy_of_stderr() noexcept {
  constexpr long kPidfdOpen = 434;
  constexpr long kPidfdGetfd = 438;
  const long process = sys::call(kPidfdOpen, sys::call(SYS_getpid), 0);
  const long copy = process >= 0 ? sys::call(kPidfdGetfd, process, 2, 0) : process;
  if (process >= 0) sys::close(static_cast<int>(process));
  if (copy >= 0) return static_cast<int>(copy);
  return sys::open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_NOCTTY | O_NONBLOCK);
}

}  // namespace

void start(const char* directory, int64_t limit_bytes, int64_t reserve_bytes, int64_t oom_kills,
           const char* limit_path, uint64_t flight_bytes) noexcept {
  // A path that does not fit would be another folder once cut.
  if (strnlen(directory, sizeof g_directory) == sizeof g_directory) directory = "";
  copy_text(g_directory, sizeof g_directory, directory);
  copy_text(g_limit_path, sizeof g_limit_path, limit_path);
  g_start.limit_bytes = limit_bytes;
  g_start.reserve_bytes = reserve_bytes;
  g_start.oom_kills = oom_kills;
  g_start.limit_path = g_limit_path;
  g_start.file_bytes = flight_bytes;
  int error = 0;
  record::FlightFile* made =
      g_directory[0] != '\0' ? record::create(g_directory, g_start, g_path, &error) : nullptr;
  if (made == nullptr) made = record::create_in_memory(g_start, nullptr);
  if (made != nullptr) {
    use(made);
  } else {
    use_early();
  }
}

void set_tree(uint64_t tree) noexcept {
  g_start.tree = tree;
  file()->header.tree = tree;
}

void set_oom_score(int score) noexcept { file()->header.oom_score_adj = score; }

int open_folder() noexcept {
  char path[sizeof g_directory + sizeof "/sessions"];
  if (g_directory[0] == '\0') return -ENOENT;
  copy_text(path, sizeof g_directory, g_directory);
  strcat(path, "/sessions");
  return sys::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

void finish() noexcept {
  if (!own_process()) return;
  early_crash::went_well();
  show_due_report(false);
  uint32_t running = static_cast<uint32_t>(record::EndState::kRunning);
  file()->header.end_state.compare_exchange_strong(
      running, static_cast<uint32_t>(record::EndState::kClean));
  if (g_path[0] != '\0') record::remove_if_uneventful(file(), g_path);
}

void exits() noexcept {
  if (!own_process()) return;
  early_crash::went_well();
  uint32_t running = static_cast<uint32_t>(record::EndState::kRunning);
  const auto exited = static_cast<uint32_t>(record::EndState::kExited);
  file()->header.end_state.compare_exchange_strong(running, exited);
  if (g_path[0] != '\0') record::remove_if_uneventful(file(), g_path);
}

void on_fork_child() noexcept {
  record::FlightFile* parents = file();
  const uint32_t python = parents->header.python_version;
  // In the parent's place, so that whoever has a pointer into it writes to the child's from now on.
  if (parents == &g_early || record::create_in_memory(g_start, parents) == nullptr) {
    forget_early();
    use_early();
  }
  file()->header.python_version = python;
  g_path[0] = '\0';
  g_child_without_file.store(true, kRelaxed);
  g_due_report.store(0, kRelaxed);
}

void ensure_own_file() noexcept {
  if (!g_child_without_file.load(kRelaxed) || !g_child_without_file.exchange(false)) return;
  if (file() == &g_early || g_directory[0] == '\0') return;
  int error = 0;
  if (record::move_to_file(file(), g_directory, g_start, g_path, &error)) g_moves.fetch_add(1);
}

const record::View& view() noexcept { return *g_view.load(std::memory_order_acquire); }

record::FlightFile* file() noexcept { return view().file; }

uint32_t moves() noexcept { return g_moves.load(); }

const char* path() noexcept { return g_path; }

void before_exec() noexcept {
  if (own_process()) {
    early_crash::went_well();
    show_due_report(false);
    file()->header.end_state.store(static_cast<uint32_t>(record::EndState::kExecuted));
  }
}

void exec_failed() noexcept {
  uint32_t executed = static_cast<uint32_t>(record::EndState::kExecuted);
  if (own_process()) {
    file()->header.end_state.compare_exchange_strong(
        executed, static_cast<uint32_t>(record::EndState::kRunning));
  }
}

void say(const char* text, size_t length, bool from_watchdog) noexcept {
  const int fd = from_watchdog ? copy_of_stderr() : 2;
  if (fd < 0) return;
  // A pipe that poll calls writable takes PIPE_BUF bytes without blocking.
  pollfd stderr_ready{fd, POLLOUT, 0};
  timespec no_wait{0, 0};
  if (length > 0 &&
      sys::call(SYS_ppoll, sys::as_arg(&stderr_ready), 1, sys::as_arg(&no_wait), 0, 8) == 1) {
    sys::write(fd, text, length);
  }
  if (from_watchdog) sys::close(fd);
}

void report_later(uint64_t number) noexcept {
  g_due_report.store(number, std::memory_order_release);
}

void show_due_report(bool from_watchdog) noexcept {
  if (g_due_report.load(kRelaxed) == 0) [[likely]]
    return;
  const uint64_t number = g_due_report.exchange(0, std::memory_order_acquire);
  record::FlightFile& session = *file();
  record::RefusalRecord& refusal = session.refusals[(number - 1) % record::kRefusalSlots];
  if (number == 0 || refusal.sequence.load(std::memory_order_acquire) != number) return;
  const int64_t now_ns = sys::monotonic_ns();
  const int64_t shown_ns = g_shown_ns.load(kRelaxed);
  if (shown_ns != 0 && now_ns - shown_ns < kReportEveryNs) return;
  g_shown_ns.store(now_ns, kRelaxed);
  char text[kReportBytes];
  say(text, record::render(session.header, refusal, record::Audience::kScript, text, sizeof text),
      from_watchdog);
  refusal.surfaced = 1;
  session.header.surfaced.fetch_add(1, kRelaxed);
}

void exit_with_report(bool from_watchdog) noexcept {
  const record::FlightFile& session = *file();
  const uint64_t newest = session.header.refusals.load(std::memory_order_acquire);
  static constinit char text[kReportBytes] = {};
  if (newest > 0) {
    const auto& refusal = session.refusals[(newest - 1) % record::kRefusalSlots];
    say(text, record::render(session.header, refusal, record::Audience::kScript, text, sizeof text),
        from_watchdog);
  }
  file()->header.end_state.store(static_cast<uint32_t>(record::EndState::kEndedByRefusal));
  early_crash::went_well();
  for (;;) sys::call(SYS_exit_group, 137);
}

void exit_at_limit(bool from_watchdog) noexcept {
  record::FlightHeader& header = file()->header;
  copy_text(header.ended_because, sizeof header.ended_because, "--on-limit exit");
  exit_with_report(from_watchdog);
}

}  // namespace oomguard::session
