#include "collector/probe/process.h"

#include "collector/probe/kernel_text.h"

namespace oomguard::probe {
namespace {

// "/proc/PID" or "/proc/self".
void process_directory(int pid, char (&out)[24]) {
  const char* prefix = "/proc/";
  size_t length = 0;
  for (; prefix[length] != '\0'; ++length) out[length] = prefix[length];
  if (pid <= 0) {
    for (const char* name = "self"; *name != '\0'; ++name) out[length++] = *name;
  } else {
    char digits[12];
    size_t count = 0;
    for (int rest = pid; rest != 0; rest /= 10) {
      digits[count++] = static_cast<char>('0' + rest % 10);
    }
    while (count > 0) out[length++] = digits[--count];
  }
  out[length] = '\0';
}

long read_once(PathRef path, char* buffer, size_t size) {
  const OneShot file(path);
  return file ? sys::read(file.fd(), buffer, size) : file.fd();
}

// The number that is `index` blanks behind `*cursor`.
bool skip_to_number(const char** cursor, const char* end, int index, Bytes* out) {
  const char* at = *cursor;
  for (; index > 0 && at != end; ++at) {
    if (*at == ' ') --index;
  }
  if (index > 0 || !parse_number(&at, end, out)) return false;
  *cursor = at;
  return true;
}

void copy_comm(const char* from, const char* to, char (&out)[16]) {
  size_t length = 0;
  for (; from != to && length + 1 < sizeof(out); ++from) {
    out[length++] = static_cast<unsigned char>(*from) < ' ' ? '?' : *from;
  }
  out[length] = '\0';
}

// "pid (comm) state ppid ... starttime(22nd) ...". A comm may hold blanks and parentheses: the last
// ')' ends it.
bool parse_stat(const char* text, const char* end, ProcessStatus* out) {
  const char* at = text;
  Bytes pid;
  if (!parse_number(&at, end, &pid)) return false;
  const char* open = at;
  while (open != end && *open != '(') ++open;
  const char* close = end;
  while (close != text && *close != ')') --close;
  if (open == end || close <= open || end - close < 4) return false;
  copy_comm(open + 1, close, out->comm);
  out->pid = static_cast<int32_t>(pid);
  out->state = close[2];
  at = close + 2;
  Bytes parent;
  Bytes start;
  if (!skip_to_number(&at, end, 1, &parent) || !skip_to_number(&at, end, 18, &start)) return false;
  out->parent_pid = static_cast<int32_t>(parent);
  out->start_ticks = static_cast<uint64_t>(start);
  Bytes exit_status;  // 52nd
  if (skip_to_number(&at, end, 30, &exit_status))
    out->exit_status = static_cast<int32_t>(exit_status);
  return true;
}

}  // namespace

bool read_status(int pid, ProcessStatus* out) {
  char directory[24];
  process_directory(pid, directory);
  char text[640];
  ProcessStatus status;
  long got = read_once({directory, "stat"}, text, sizeof(text) - 1);
  if (got <= 0) return false;
  text[got] = '\0';
  if (!parse_stat(text, text + got, &status)) return false;
  got = read_once({directory, "statm"}, text, sizeof(text));
  if (got <= 0) return false;
  const char* at = text;
  Bytes resident;
  Bytes shared;
  if (!skip_to_number(&at, text + got, 1, &resident) ||
      !skip_to_number(&at, text + got, 1, &shared)) {
    return false;
  }
  status.resident = pages_to_bytes(resident);
  status.resident_anonymous = resident > shared ? pages_to_bytes(resident - shared) : 0;
  *out = status;
  return true;
}

long read_arguments(int pid, char* buffer, size_t size) {
  char directory[24];
  process_directory(pid, directory);
  return read_once({directory, "cmdline"}, buffer, size);
}

Bytes own_memory() {
  KeyedValue wanted[] = {{"RssAnon:"}, {"RssShmem:"}};
  if (read_keyed_once({"/proc/self", "status"}, wanted, 2) != 0 || !wanted[0].found) return -1;
  return wanted[0].value + wanted[1].value;
}

// The link count of a folder is the number of folders in it and two.
uint32_t count_threads() {
  struct stat status;
  const long result =
      sys::call(SYS_newfstatat, AT_FDCWD, sys::as_arg("/proc/self/task"), sys::as_arg(&status), 0);
  return result == 0 && status.st_nlink > 2 ? static_cast<uint32_t>(status.st_nlink) - 2 : 0;
}

bool read_shares(MemoryShares* out) {
  KeyedValue rollup[] = {{"Shared_Dirty:"}, {"Anonymous:"}, {"Pss_Anon:"}, {"Pss_Shmem:"}};
  KeyedValue status[] = {{"RssShmem:"}};
  if (read_keyed_once({"/proc/self", "smaps_rollup"}, rollup, 4) != 0 ||
      read_keyed_once({"/proc/self", "status"}, status, 1) != 0) {
    return false;
  }
  for (const KeyedValue& value : rollup) {
    if (!value.found) return false;
  }
  *out = {rollup[1].value, rollup[2].value, status[0].value, rollup[3].value, rollup[0].value};
  return true;
}

size_t list_group(const Probe& probe, int32_t* pids, size_t capacity) {
  TableReader table(probe.state());
  const bool innermost = table->count > 0 && table->groups[0].is_process_group;
  const char* directory = innermost ? table->groups[0].path : table->process_group;
  const OneShot file({directory, "cgroup.procs"});
  if (!file) return 0;
  CharStream in(file.fd());
  size_t count = 0;
  int64_t pid = 0;
  for (int c = in.next(); c != -1 && count < capacity; c = in.next()) {
    if (c >= '0' && c <= '9' && pid < INT32_MAX / 10) {
      pid = pid * 10 + (c - '0');
    } else {
      // 0 stands for a process of another pid namespace.
      if (pid > 0) pids[count++] = static_cast<int32_t>(pid);
      pid = 0;
    }
  }
  return count;
}

}  // namespace oomguard::probe
