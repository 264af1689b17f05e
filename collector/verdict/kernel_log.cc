#include "collector/verdict/kernel_log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/klog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace oomguard::verdict {
namespace {

constexpr int kReadAll = 3;      // SYSLOG_ACTION_READ_ALL
constexpr int kBufferSize = 10;  // SYSLOG_ACTION_SIZE_BUFFER
constexpr size_t kLargestLog = 16 << 20;
constexpr size_t kLongestName = 64;

template <typename Number>
bool take_number(std::string_view* text, Number* out) {
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *out);
  if (error != std::errc{}) return false;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return true;
}

bool take(std::string_view* text, std::string_view word) {
  if (!text->starts_with(word)) return false;
  text->remove_prefix(word.size());
  return true;
}

// "15.552007" in nanoseconds.
bool take_seconds(std::string_view* text, int64_t* out) {
  int64_t seconds = 0;
  uint32_t part = 0;
  if (!take_number(text, &seconds) || !take(text, ".")) return false;
  const size_t before = text->size();
  if (!take_number(text, &part) || before - text->size() != 6) return false;
  if (seconds < 0 || seconds > INT64_MAX / 1'000'000'000 - 1) return false;
  *out = seconds * 1'000'000'000 + int64_t{part} * 1000;
  return true;
}

// What stands before the message: "<6>[   15.552007][  T165] " or "6,339,15552007,-;".
int64_t take_stamp(std::string_view* line) {
  std::string_view rest = *line;
  int64_t at_ns = -1;
  int64_t number = 0;
  if (take(&rest, "<") && (!take_number(&rest, &number) || !take(&rest, ">"))) return -1;
  if (take(&rest, "[")) {
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    if (!take_seconds(&rest, &at_ns) || !take(&rest, "]")) return -1;
    if (take(&rest, "[")) rest.remove_prefix(std::min(rest.find(']'), rest.size() - 1) + 1);
    take(&rest, " ");
    *line = rest;
    return at_ns;
  }
  int64_t microseconds = 0;
  if (take_number(&rest, &number) && take(&rest, ",") && take_number(&rest, &number) &&
      take(&rest, ",") && take_number(&rest, &microseconds) && rest.find(';') != rest.npos) {
    *line = rest.substr(rest.find(';') + 1);
    return microseconds >= 0 && microseconds < INT64_MAX / 1000 ? microseconds * 1000 : -1;
  }
  return -1;
}

// What stands between the last `before` and the next `after` behind it (or the end).
std::string_view last_between(std::string_view line, std::string_view before, char after) {
  const size_t at = line.rfind(before);
  if (at == line.npos) return {};
  const std::string_view rest = line.substr(at + before.size());
  return rest.substr(0, rest.find(after));
}

// What follows "oom-kill:": whose limit it is until the next such line.
struct Cause {
  std::string group;
  bool machine = false;
  int32_t pid = 0;
};
std::optional<Cause> parse_cause(std::string_view line) {
  if (!take(&line, "oom-kill:constraint=")) return std::nullopt;
  Cause cause;
  // A group's name may hold a comma: it ends where the next key begins.
  const size_t memcg = line.find(",oom_memcg=");
  const size_t task = line.rfind(",task_memcg=");
  if (line.starts_with("CONSTRAINT_MEMCG") && memcg != line.npos && task != line.npos &&
      memcg < task) {
    cause.group = line.substr(memcg + 11, task - memcg - 11);
  } else {
    cause.machine = line.find(",global_oom,") != line.npos;
  }
  std::string_view pid = last_between(line, ",pid=", ',');
  if (!take_number(&pid, &cause.pid) || !pid.empty()) return std::nullopt;
  return cause;
}

// "Memory cgroup out of memory: Killed process 165 (python) total-vm:...", "Out of memory: Kill
// process".
bool parse_killed(std::string_view line, LogEvent* out, bool* in_group) {
  *in_group = take(&line, "Memory cgroup out of memory: ");
  if (!*in_group && !take(&line, "Out of memory: ")) return false;
  if (!take(&line, "Killed process ") || !take_number(&line, &out->pid) || !take(&line, " ("))
    return false;
  const size_t end = std::min(line.rfind(") total-vm:"), line.rfind("), UID"));
  if (end == line.npos || end > kLongestName) return false;
  out->name = line.substr(0, end);
  return out->pid > 0;
}

// The module in "... in libfoo.so[1000,7f12+ff000] likely on CPU 3".
std::string module_of(std::string_view line) {
  const size_t at = line.rfind(" in ");
  if (at == line.npos) return "";
  const std::string_view rest = line.substr(at + 4);
  const size_t end = rest.find('[');
  return end == rest.npos || end == 0 || end > kLongestName ? "" : std::string(rest.substr(0, end));
}

struct FaultForm {
  std::string_view before;  // what follows the name and number
  const char* name;
  bool trap;  // its line begins with "traps: "
};
constexpr FaultForm kFaults[] = {
    {": segfault at ", "segmentation fault", false},
    {" general protection fault ip:", "general protection fault", true},
    {" trap invalid opcode ip:", "invalid instruction", true},
    {" trap divide error ip:", "division by zero", true},
    {" trap int3 ip:", "breakpoint", true},
};

// "python[165]: segfault at 0 ip ... in x.so[...]", "traps: python[165] general protection fault
// ip:...".
bool parse_fault(std::string_view line, LogEvent* out) {
  const bool trap = take(&line, "traps: ");
  for (const FaultForm& form : kFaults) {
    const size_t at = trap == form.trap ? line.find(form.before) : line.npos;
    if (at == line.npos || at == 0 || line[at - 1] != ']') continue;
    const std::string_view who = line.substr(0, at - 1);
    const size_t open = who.rfind('[');
    if (open == who.npos || open > kLongestName) continue;
    std::string_view number = who.substr(open + 1);
    if (!take_number(&number, &out->pid) || !number.empty() || out->pid <= 0) continue;
    out->name = who.substr(0, open);
    out->fault = form.name;
    out->module = module_of(line);
    return true;
  }
  return false;
}

// One record with each read; unlike the other way each has its time (printk.time may be off).
std::string read_records() {
  const int fd = ::open("/dev/kmsg", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return "";
  std::string text;
  std::array<char, 8192> record;
  while (text.size() < kLargestLog) {
    const ssize_t got = ::read(fd, record.data(), record.size());
    if (got < 0 && (errno == EPIPE || errno == EINTR)) continue;  // overwritten meanwhile
    if (got <= 0) break;
    text.append(record.data(), static_cast<size_t>(got));
  }
  ::close(fd);
  return text;
}

std::string read_buffer() {
  const int size = ::klogctl(kBufferSize, nullptr, 0);
  if (size <= 0) return "";
  std::string text(std::min(static_cast<size_t>(size), kLargestLog), '\0');
  const int got = ::klogctl(kReadAll, text.data(), static_cast<int>(text.size()));
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return text;
}

class Parser {
 public:
  void line(std::string_view line) {
    LogEvent event;
    event.at_ns = take_stamp(&line);
    bool in_group = false;
    if (auto cause = parse_cause(line)) {
      cause_ = std::move(cause);
      whole_group_ = false;
    } else if (line.starts_with("Tasks in ") && line.find("memory.oom.group set") != line.npos) {
      whole_group_ = true;
    } else if (parse_killed(line, &event, &in_group)) {
      put_cause(in_group, &event);
      events_.push_back(std::move(event));
    } else if (parse_fault(line, &event)) {
      event.kind = LogEvent::Kind::kFault;
      events_.push_back(std::move(event));
    }
  }
  std::vector<LogEvent> take_events() { return std::move(events_); }

 private:
  // The cause belongs to its own victim, and to those of the same group that follow it where it
  // goes whole.
  void put_cause(bool in_group, LogEvent* event) const {
    event->machine = !in_group;
    if (!cause_ || (cause_->pid != event->pid && !whole_group_) || cause_->machine == in_group)
      return;
    event->group = cause_->group;
    event->whole_group = whole_group_;
  }

  std::vector<LogEvent> events_;
  std::optional<Cause> cause_;
  bool whole_group_ = false;
};

}  // namespace

std::vector<LogEvent> parse_kernel_log(std::string_view text) {
  Parser parser;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    parser.line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parser.take_events();
}

std::string read_kernel_log() {
  std::string text = read_records();
  return text.empty() ? read_buffer() : text;
}

}  // namespace oomguard::verdict
