#include "collector/probe/killers.h"

#include <cstring>

#include "collector/probe/directory.h"
#include "collector/probe/kernel_text.h"
#include "collector/probe/process.h"

namespace oomguard::probe {
namespace {

struct Known {
  const char* comm;
  int permille;  // of MemTotal
  Bytes bytes;   // or a fixed line
};
constexpr Known kKnown[] = {
    {"earlyoom", 100, 0}, {"nohang", 50, 0},      {"systemd-oomd", 100, 0},
    {"oomd", 100, 0},     {"kubelet", 0, 100 << 20},
};

bool equal(const char* left, const char* right) {
  while (*left != '\0' && *left == *right) {
    ++left;
    ++right;
  }
  return *left == *right;
}

// "25", "25.5", "25,10": up to the next whole number. -1 where it is no number.
Bytes parse_limit(const char* at, const char* end) {
  Bytes value;
  if (!parse_number(&at, end, &value)) return -1;
  return at != end && *at == '.' ? value + 1 : value;
}

Bytes least_given(Bytes one, Bytes other) {
  return one < 0 || (other >= 0 && other < one) ? other : one;
}

}  // namespace

Bytes earlyoom_line(const char* arguments, size_t size, Bytes mem_total) {
  Bytes from_percent = -1;
  Bytes from_size = -1;
  const char* const end = arguments + size;
  char expected = '\0';  // the option whose value comes next
  for (const char* word = arguments; word < end;) {
    const char* const stop = word + strnlen(word, static_cast<size_t>(end - word));
    const bool option = stop - word >= 2 && word[0] == '-' && (word[1] == 'm' || word[1] == 'M');
    if (option) expected = word[1];
    const char* const value = option ? word + 2 : word;
    if (expected != '\0' && value != stop) {
      const Bytes limit = parse_limit(value, stop);
      if (limit >= 0 && expected == 'm' && limit <= 100) from_percent = mem_total / 100 * limit;
      if (limit >= 0 && expected == 'M' && limit <= mem_total / 1024) from_size = limit * 1024;
      expected = '\0';
    }
    word = stop + 1;
  }
  const Bytes given = least_given(from_percent, from_size);  // the lower of both, as it does itself
  return given < 0 ? killer_line("earlyoom", mem_total) : given;
}

Bytes killer_line(const char* comm, Bytes mem_total) {
  for (const Known& known : kKnown) {
    if (equal(comm, known.comm)) return known.bytes + mem_total / 1000 * known.permille;
  }
  return 0;
}

// Not inlined: the walk over /proc has buffers of its own on a small stack.
[[gnu::noinline]] static Bytes line_of_earlyoom(int pid, Bytes mem_total) {
  char arguments[256];
  const long got = read_arguments(pid, arguments, sizeof(arguments));
  return earlyoom_line(arguments, got > 0 ? static_cast<size_t>(got) : 0, mem_total);
}

Bytes find_killer_line(Bytes mem_total) {
  const int fd = sys::open("/proc", O_RDONLY | O_DIRECTORY);
  if (fd < 0) return 0;
  Bytes line = 0;
  sys::for_each_entry(fd, [&](const char* name) {
    ProcessStatus status;
    const int pid = sys::number_of(name);
    if (pid == 0 || !read_status(pid, &status)) return;
    const Bytes its_line = equal(status.comm, "earlyoom") ? line_of_earlyoom(pid, mem_total)
                                                          : killer_line(status.comm, mem_total);
    if (its_line > line) line = its_line;
  });
  sys::close(fd);
  return line;
}

}  // namespace oomguard::probe
