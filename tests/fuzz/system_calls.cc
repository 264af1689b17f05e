#include "tests/fuzz/system_calls.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "collector/probe/syscall.h"

namespace oomguard {
namespace fuzz {
namespace {

std::string_view g_input;
std::string_view g_file;  // the one that was opened last
size_t g_next = 0;        // where the next one begins
size_t g_read = 0;        // position of plain reads
bool g_serving = false;

void open_next() {
  if (g_next >= g_input.size()) g_next = 0;
  const size_t end = std::min(g_input.find('\0', g_next), g_input.size());
  g_file = g_input.substr(g_next, end - g_next);
  g_next = end + 1;
  g_read = 0;
}

long copy(size_t at, long buffer, long capacity) {
  if (at >= g_file.size()) return 0;
  const size_t size = std::min(g_file.size() - at, static_cast<size_t>(capacity));
  memcpy(reinterpret_cast<void*>(buffer), g_file.data() + at, size);
  return static_cast<long>(size);
}

}  // namespace

void serve(const uint8_t* data, size_t size) {
  g_input = {reinterpret_cast<const char*>(data), size};
  g_serving = data != nullptr;
  g_next = g_read = 0;
  g_file = {};
}

int make_file(const uint8_t* data, size_t size) {
  const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  if (fd < 0 || write(fd, data, size) != static_cast<ssize_t>(size)) abort();
  return fd;
}

}  // namespace fuzz

bool sys::answered_instead(long nr, const long (&arguments)[4], long* result) {
  using namespace fuzz;
  if (!g_serving) return false;
  if (nr == SYS_openat) {
    open_next();
  } else if (nr == SYS_read) {
    *result = copy(g_read, arguments[1], arguments[2]);
    g_read += static_cast<size_t>(*result);
    return true;
  } else if (nr == SYS_pread64) {
    *result = copy(static_cast<size_t>(arguments[3]), arguments[1], arguments[2]);
    return true;
  }
  return false;
}

}  // namespace oomguard
