#include "shim/core/early_crash.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include <atomic>

#include "collector/probe/syscall.h"
#include "collector/record/folder.h"
#include "collector/record/line_buffer.h"
#include "shim/core/session.h"
#include "shim/trace/native_stack.h"

// The linker's: where this library's headers and code are.
extern "C" [[gnu::visibility("hidden")]] const char __ehdr_start[];
extern "C" [[gnu::visibility("hidden")]] const char etext[];

namespace oomguard::early_crash {
namespace {

constexpr int64_t kEarlyNs = 5'000'000'000;
constexpr int64_t kRememberedSeconds = 24 * 3600;
constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
constexpr uint64_t kMarks = 64;  // of so many programs at the most; another one's is left alone

// The file of a program in its first seconds, or of one that crashed in them.
struct Mark {
  uint64_t program;
  int32_t pid;
  int32_t signal;  // 0: none yet
};
static_assert(sizeof(Mark) == 16);

constinit char g_path[record::kMaxSessionPath] = "";
constinit uint64_t g_program = 0;
constinit int64_t g_start_ns = 0;
constinit std::atomic<long> g_marked{0};  // the process whose mark it is; 0: nobody's
constinit std::atomic<bool> g_noted{false};

uint64_t mixed(uint64_t hash, const char* text, size_t length) noexcept {
  for (size_t i = 0; i < length; ++i) {
    hash = (hash ^ static_cast<unsigned char>(text[i])) * 0x100000001b3;  // FNV-1a
  }
  return (hash ^ 0xff) * 0x100000001b3;
}

// The program's file and the first two words: "-m ipykernel_launcher", "train.py".
uint64_t program_of(int argc, char** argv) noexcept {
  constexpr size_t kMostWord = 256;
  char file[kMostWord];
  const long length = sys::call(SYS_readlinkat, AT_FDCWD, sys::as_arg("/proc/self/exe"),
                                sys::as_arg(file), sizeof file);
  uint64_t hash = mixed(0xcbf29ce484222325, file, length > 0 ? static_cast<size_t>(length) : 0);
  for (int i = 1; i < argc && i <= 2; ++i) {
    hash = mixed(hash, argv[i], strnlen(argv[i], kMostWord));
  }
  return hash;
}

long own_pid() noexcept { return sys::call(SYS_getpid); }

int open_mark(int flags, bool make_folder) noexcept {
  char path[sizeof g_path];
  memcpy(path, g_path, sizeof path);
  char* name = strrchr(path, '/');
  *name++ = '\0';
  const int folder = record::open_private_folder(path, make_folder);
  if (folder < 0) return folder;
  flags |= O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  const auto fd =
      static_cast<int>(sys::call(SYS_openat, folder, sys::as_arg(name), flags, 0600));
  sys::close(folder);
  return fd;
}

void write_mark(int signal_number) noexcept {
  if (!sys::may_write_file_of(sizeof(Mark))) return;
  const int fd = open_mark(O_WRONLY | O_CREAT, true);
  if (fd < 0) return;
  const Mark mark{g_program, static_cast<int32_t>(own_pid()), signal_number};
  sys::call(SYS_pwrite64, fd, sys::as_arg(&mark), sizeof mark, 0);
  sys::close(fd);
}

// False where there is none. What others may have written is nobody's word.
bool read_mark(Mark* mark, int64_t* age_seconds) noexcept {
  const int fd = open_mark(O_RDONLY, false);
  if (fd < 0) return false;
  struct stat info;
  const auto user = static_cast<uid_t>(sys::call(SYS_geteuid));
  const bool own = sys::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == user &&
                   (info.st_mode & 022) == 0;
  const bool read = own && sys::pread(fd, mark, sizeof *mark, 0) == sizeof *mark;
  sys::close(fd);
  if (read) *age_seconds = sys::realtime_ns() / 1'000'000'000 - info.st_mtime;
  return read;
}

bool is_alive(int32_t pid) noexcept { return sys::call(SYS_kill, pid, 0) != -ESRCH; }

bool is_ours(uintptr_t address) noexcept {
  return address >= reinterpret_cast<uintptr_t>(__ehdr_start) &&
         address < reinterpret_cast<uintptr_t>(etext);
}

// In this library's code, or in what that called.
bool is_below_us(const void* context) noexcept {
  const auto& registers = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  const auto pc = static_cast<uintptr_t>(registers.gregs[REG_RIP]);
#else
  const auto pc = static_cast<uintptr_t>(registers.pc);
#endif
  if (is_ours(pc)) return true;
  uintptr_t frames[trace::kMaxNativeFrames];
  const size_t count = trace::read_native_stack(frames, trace::kMaxNativeFrames);
  for (size_t i = 0; i < count; ++i) {
    if (is_ours(frames[i] - 1)) return true;
  }
  return false;
}

void on_crash(int signal_number, siginfo_t* info, void* context) noexcept {
  const int saved_errno = errno;
  struct sigaction by_default = {};
  by_default.sa_handler = SIG_DFL;
  ::sigaction(signal_number, &by_default, nullptr);
  const bool early = sys::monotonic_ns() - g_start_ns < kEarlyNs;
  if (early && own_pid() == g_marked.load() && !g_noted.exchange(true) && is_below_us(context)) {
    write_mark(signal_number);
  }
  errno = saved_errno;
  // The instruction fails again, but for memory that broke elsewhere.
  if (info->si_code > 0 && (signal_number != SIGBUS || info->si_code != BUS_MCEERR_AO)) return;
  sys::call(SYS_tgkill, own_pid(), sys::call(SYS_gettid), signal_number);
}

void note_crashes() noexcept {
  trace::prepare_native_stacks(trace::OwnFrames::kLeaveOut);  // nobody did, with --sample 0
  struct sigaction action = {};
  action.sa_sigaction = on_crash;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (const int signal_number : kSignals) {
    struct sigaction now;
    const bool is_default = ::sigaction(signal_number, nullptr, &now) == 0 &&
                            (now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_DFL;
    if (is_default) ::sigaction(signal_number, &action, nullptr);
  }
}

void say_bare(int32_t signal_number) noexcept {
  char line[600];
  record::LineBuffer text(line, sizeof line);
  text.text("oomguard: off in this process: two starts of it ended within seconds, the last one by "
            "signal ")
      .number(signal_number)
      .text(" in this library or below it; guarded again a day later, or once ")
      .text(g_path)
      .text(" is removed")
      .end_line();
  sys::write(2, line, text.finish());
}

}  // namespace

bool crashed_before(const char* directory, int argc, char** argv) noexcept {
  g_program = program_of(argc, argv);
  record::LineBuffer path(g_path, sizeof g_path);
  path.text(directory).text("/starts/").number(static_cast<int64_t>(g_program % kMarks)).end_line();
  const size_t length = path.finish();
  if (directory[0] == '\0' || length == 0) {
    g_path[0] = '\0';
    return false;
  }
  g_path[length - 1] = '\0';
  Mark mark;
  int64_t age = 0;
  if (!read_mark(&mark, &age) || mark.program != g_program || mark.signal == 0) return false;
  if (age < 0 || age > kRememberedSeconds) return false;
  say_bare(mark.signal);
  return true;
}

void watch() noexcept {
  // Where there is no session its folder is somebody else's.
  if (session::path()[0] == '\0') g_path[0] = '\0';
  if (g_path[0] == '\0') return;
  g_start_ns = sys::monotonic_ns();
  Mark mark;
  int64_t age = 0;
  if (read_mark(&mark, &age)) {
    // Of one in its first seconds, or of another program that crashed. In a container the next one
    // has the same process id.
    const bool runs = mark.pid != own_pid() && is_alive(mark.pid);
    const bool is_remembered = age >= 0 && age <= kRememberedSeconds;
    if (mark.signal == 0 ? runs : is_remembered && mark.program != g_program) return;
    if (mark.program == g_program && mark.signal == 0) note_crashes();
  }
  g_marked.store(own_pid());
  write_mark(0);
}

void went_well() noexcept {
  long pid = g_marked.load(std::memory_order_relaxed);
  if (pid == 0 || pid != own_pid() || !g_marked.compare_exchange_strong(pid, 0)) return;
  sys::call(SYS_unlinkat, AT_FDCWD, sys::as_arg(g_path), 0);
}

void tick(int64_t now_ns) noexcept {
  if (g_marked.load(std::memory_order_relaxed) != 0 && now_ns - g_start_ns >= kEarlyNs) {
    went_well();
  }
}

}  // namespace oomguard::early_crash
