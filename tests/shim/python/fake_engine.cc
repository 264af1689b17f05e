// A preload library with the real Python side and an engine that does as the test says.
//
// Requests of FAKE_REFUSE_BYTES and more are refused; alarms are sent by the test itself (os.kill)
// after fake_set_alarm. What the Python side told the engine is appended to the file FAKE_LOG, a
// line each. The functions below with default visibility are called through ctypes.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "collector/probe/probe.h"
#include "shim/core/engine.h"
#include "shim/python/bootstrap.h"

#define OOMGUARD_TEST_EXPORT extern "C" __attribute__((visibility("default")))

OOMGUARD_TEST_EXPORT void* __libc_malloc(size_t);
OOMGUARD_TEST_EXPORT void* __libc_calloc(size_t, size_t);
OOMGUARD_TEST_EXPORT void* __libc_realloc(void*, size_t);

namespace oomguard {
namespace {

constexpr size_t kSlowPathBytes = 512;
constexpr uint64_t kSlots = 64;

size_t g_refuse_bytes = SIZE_MAX;
const char* g_log = nullptr;
options::Values g_values;
record::RefusalRecord g_refusals[kSlots];
std::atomic<uint64_t> g_count{0};
std::atomic<uint64_t> g_incident{1};
std::atomic<uint64_t> g_slow_paths{0};
int g_signal = 0;
uint64_t g_alarm = 0;
int32_t g_alarm_thread = 0;

int32_t this_thread() { return static_cast<int32_t>(syscall(SYS_gettid)); }

__attribute__((format(printf, 1, 2))) void log_line(const char* format, ...) {
  if (g_log == nullptr) return;
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  const int size = vsnprintf(line, sizeof(line) - 1, format, arguments);
  va_end(arguments);
  line[size] = '\n';
  const int fd = open(g_log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (write(fd, line, static_cast<size_t>(size) + 1) < 0) abort();
  close(fd);
}

uint64_t record_refusal(size_t bytes, record::RequestKind kind, int32_t thread) {
  const uint64_t number = ++g_count;
  record::RefusalRecord& slot = g_refusals[number % kSlots];
  slot.incident = g_incident;
  slot.thread_id = thread;
  slot.kind = static_cast<uint32_t>(kind);
  slot.request_bytes = static_cast<int64_t>(bytes);
  slot.at_realtime_ns = static_cast<int64_t>(time(nullptr)) * 1'000'000'000;
  slot.surfaced = 0;
  slot.level_count = 1;
  slot.levels[0].binds = 1;
  slot.levels[0].kind = static_cast<uint32_t>(probe::LimitKind::kCgroupV1);
  slot.levels[0].limit_bytes = 6LL << 30;
  slot.levels[0].usage_bytes = 5LL << 30;
  strcpy(slot.levels[0].path, "/fake/group");
  strcpy(slot.module, "fake.so");
  slot.where[0] = '\0';
  slot.sequence = number;
  return number;
}

bool refuse(size_t bytes, record::RequestKind kind) {
  if (bytes >= kSlowPathBytes) {
    g_slow_paths.fetch_add(1, std::memory_order_relaxed);
    const int saved = errno;
    python::on_slow_path(this_thread() == getpid());
    errno = saved;
  }
  if (bytes < g_refuse_bytes) return false;
  record_refusal(bytes, kind, this_thread());
  errno = ENOMEM;
  return true;
}

__attribute__((constructor)) void start() {
  const char* bytes = getenv("FAKE_REFUSE_BYTES");
  if (bytes != nullptr) g_refuse_bytes = strtoull(bytes, nullptr, 10);
  g_log = getenv("FAKE_LOG");
  g_values.keep_frames = getenv("FAKE_KEEP_FRAMES") != nullptr;
  python::detect();
}

}  // namespace

namespace engine {

const options::Values& values() noexcept { return g_values; }
bool active() noexcept { return true; }

bool usage(Usage* out) noexcept {
  *out = Usage{6LL << 30, 5LL << 30, 900LL << 20, 124LL << 20, "container (/fake/group)"};
  return true;
}

uint64_t refusal_count() noexcept { return g_count; }

bool copy_refusal(uint64_t n, record::RefusalRecord* out) noexcept {
  if (n == 0) n = g_count;
  if (n == 0 || n > g_count || n + kSlots <= g_count) return false;
  memcpy(static_cast<void*>(out), &g_refusals[n % kSlots], sizeof(*out));
  return true;
}

size_t render_refusal(uint64_t n, record::Audience audience, char* out, size_t capacity) noexcept {
  if (n == 0) n = g_count;
  if (n == 0) return 0;
  const char* const what[] = {"cell", "program", "full"};
  return static_cast<size_t>(snprintf(out, capacity, "REPORT %llu %s\nAt: %s\n",
                                      static_cast<unsigned long long>(n),
                                      what[static_cast<int>(audience)],
                                      g_refusals[n % kSlots].where));
}

size_t render_refusal_note(uint64_t n, char* out, size_t capacity) noexcept {
  return static_cast<size_t>(
      snprintf(out, capacity, "NOTE %llu\n", static_cast<unsigned long long>(n)));
}

uint64_t unsurfaced_refusal(int32_t thread_id) noexcept {
  const uint64_t newest = g_count;
  for (uint64_t n = newest; n > 0 && n + kSlots > newest; --n) {
    const record::RefusalRecord& slot = g_refusals[n % kSlots];
    if (slot.surfaced != 0) return 0;
    if (thread_id == 0 || slot.thread_id == thread_id) return n;
  }
  return 0;
}

uint64_t childs_refusal() noexcept {
  log_line("child");
  return record_refusal(77, record::RequestKind::kMalloc, 1);
}

void name_file(uint64_t n, const char* path, const char* label) noexcept {
  log_line("name_file %llu %s %s", static_cast<unsigned long long>(n), path, label);
}

void interpreter_ends() noexcept {}
void trim() noexcept {}
void set_budget(int64_t bytes) noexcept { log_line("budget %lld", static_cast<long long>(bytes)); }
void see_host(int32_t change) noexcept { log_line("host %d", change); }
int64_t take_peak() noexcept { return 0; }
void allow_notices() noexcept {}

void surfaced(uint64_t n, const char* where) noexcept {
  record::RefusalRecord& slot = g_refusals[n % kSlots];
  slot.surfaced = 1;
  snprintf(slot.where, sizeof(slot.where), "%s", where);
  ++g_incident;
  log_line("surfaced %llu %s", static_cast<unsigned long long>(n), where);
}

void ending(uint64_t n) noexcept { log_line("ending %llu", static_cast<unsigned long long>(n)); }

void exception_signal_ready(int signal_number) noexcept {
  g_signal = signal_number;
  log_line("signal %d", signal_number);
}

void exception_handled() noexcept { log_line("handled"); }

uint64_t alarm_refusal(int32_t* growing_thread_id) noexcept {
  *growing_thread_id = g_alarm_thread;
  return g_alarm;
}

void add_privilege(int32_t) noexcept {}
void shell_started() noexcept {}

void set_cell(uint32_t, const char*) noexcept {}
void name_cell(uint32_t, const char*) noexcept {}
void asked_to_end() noexcept { log_line("asked to end"); }
void set_python(uint32_t version, bool is_kernel, const char* connection_file,
                const char*) noexcept {
  log_line("python %u.%u kernel=%d %s", version >> 16, version & 0xffff, is_kernel ? 1 : 0,
           connection_file);
}

const char* session_path() noexcept { return "/fake/session"; }

}  // namespace engine
}  // namespace oomguard

OOMGUARD_TEST_EXPORT int fake_state() { return static_cast<int>(oomguard::python::state()); }
OOMGUARD_TEST_EXPORT int fake_signal() { return oomguard::g_signal; }
OOMGUARD_TEST_EXPORT unsigned long fake_slow_paths() { return oomguard::g_slow_paths; }

// The next signal is for a thread that fills memory (0: nobody knows which).
OOMGUARD_TEST_EXPORT void fake_set_alarm(int thread) {
  oomguard::g_alarm_thread = thread;
  oomguard::g_alarm = oomguard::record_refusal(0, oomguard::record::RequestKind::kTouch, thread);
}

OOMGUARD_TEST_EXPORT void fake_notice() { oomguard::python::show_notice_soon(true); }
OOMGUARD_TEST_EXPORT void fake_load() { oomguard::python::show_notice_soon(false); }

OOMGUARD_TEST_EXPORT void* malloc(size_t bytes) {
  if (oomguard::refuse(bytes, oomguard::record::RequestKind::kMalloc)) return nullptr;
  return __libc_malloc(bytes);
}

OOMGUARD_TEST_EXPORT void* calloc(size_t count, size_t size) {
  size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) bytes = SIZE_MAX;
  if (oomguard::refuse(bytes, oomguard::record::RequestKind::kCalloc)) return nullptr;
  return __libc_calloc(count, size);
}

OOMGUARD_TEST_EXPORT void* realloc(void* block, size_t bytes) {
  if (oomguard::refuse(bytes, oomguard::record::RequestKind::kRealloc)) return nullptr;
  return __libc_realloc(block, bytes);
}
