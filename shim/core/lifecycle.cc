// Start, fork and end of the shim in one process.
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/options/settings.h"
#include "collector/probe/process.h"
#include "collector/probe/syscall.h"
#include "shim/budget/behind.h"
#include "shim/budget/callers.h"
#include "shim/budget/gate.h"
#include "shim/budget/group_table.h"
#include "shim/budget/ledger.h"
#include "shim/budget/relief.h"
#include "shim/budget/refusal_record.h"
#include "shim/budget/tree.h"
#include "shim/budget/watchdog.h"
#include "shim/children/children.h"
#include "shim/children/oom_score.h"
#include "shim/children/scratch.h"
#include "shim/core/dl.h"
#include "shim/core/early_crash.h"
#include "shim/core/model_files.h"
#include "shim/core/session.h"
#include "shim/core/thread_state.h"
#include "shim/gpu/budget.h"
#include "shim/gpu/ledger.h"
#include "shim/interpose/real.h"
#include "shim/python/bootstrap.h"
#include "shim/spill/lender.h"
#include "shim/trace/sampler.h"

namespace oomguard {

namespace {

using budget::gate;

constexpr size_t kMostWarnings = 4;

// Tells what is wrong with the settings, where that is not too much.
void warn(const options::Found& found, void* told) noexcept {
  char line[512];
  const size_t length = options::describe(found, line, sizeof line);
  if (length > 0 && ++*static_cast<size_t*>(told) <= kMostWarnings) sys::write(2, line, length);
}

// The exec hooks recognise this library in LD_PRELOAD by the path it was loaded from.
void remember_library_path() noexcept {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&remember_library_path), &info) != 0) {
    children::set_library_path(info.dli_fname);
  }
}

// `oomguard run` names the process it started, so that a program that is not Python is guarded too.
bool is_run_program(char** environment) noexcept {
  static constexpr char kName[] = "OOMGUARD_RUN_PROGRAM=";
  for (char** entry = environment; entry != nullptr && *entry != nullptr; ++entry) {
    if (strncmp(*entry, kName, sizeof kName - 1) != 0) continue;
    return strtol(*entry + sizeof kName - 1, nullptr, 10) == sys::call(SYS_getpid);
  }
  return false;
}

// Where the fork came through our hook the pages were given back there, and none was lent since.
void before_fork() noexcept {
  if (!spill::give_back_for_fork(budget::kNoLimit, budget::watchdog::wake)) gate.count_fault();
  if (budget::watchdog::pause_for_fork()) ++thread_state.unwatched_forks;
}

void after_fork_in_parent() noexcept {
  budget::tree::on_fork_parent();
  if (thread_state.unwatched_forks != 0) {
    --thread_state.unwatched_forks;
    const bool counted = python::counts_threads() && probe::count_threads() == 1;
    budget::watchdog::resume(!counted);
    if (counted) python::run_soon(budget::watchdog::start_now);
  }
  spill::fork_over();
  drop_credit();  // the next request starts the watchdog where nothing else does
}

void after_fork_in_child() noexcept {
  children::remember_process();
  children::make_first_victim(0);
  thread_state.thread_id = 0;
  drop_credit();
  thread_state.unwatched_forks = 0;
  budget::ledger.on_fork_child();
  budget::forget_table_users();
  session::on_fork_child();
  model_files::on_fork_child();
  trace::on_fork_child();
  budget::forget_incident_of_parent();
  budget::tree::on_fork_child();
  gate.on_fork_child();
  gpu::on_fork_child();
  spill::on_fork_child();
  python::on_fork_child();
  budget::watchdog::on_fork_child();
}

// The first object behind the program that defines malloc. (The program's own symbol may be no more
// than its entry for calls.)
bool find_first_malloc(Dl_info* info) noexcept {
  void* program = dlopen(nullptr, RTLD_LAZY);
  const auto* at = static_cast<const link_map*>(program);
  for (at = at != nullptr ? at->l_next : nullptr; at != nullptr; at = at->l_next) {
    void* handle = dlopen(at->l_name, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == nullptr) continue;  // the vDSO
    void* symbol = dlsym(handle, "malloc");
    dlclose(handle);
    if (symbol != nullptr && dladdr(symbol, info) != 0 &&
        reinterpret_cast<uintptr_t>(info->dli_fbase) == at->l_addr) {
      break;
    }
  }
  if (program != nullptr) dlclose(program);
  dlerror();  // nobody is to find ours there
  return at != nullptr;
}

// Whether a call of this malloc ends in this library's hook, which takes of the credit.
bool arrives(void* first_malloc, void* its_free) noexcept {
  constexpr uint64_t kCredit = 4096;
  thread_state.credit = kCredit;
  void* block = reinterpret_cast<void* (*)(size_t)>(first_malloc)(64);
  const bool taken = thread_state.credit != kCredit;
  thread_state.credit = 0;
  reinterpret_cast<void (*)(void*)>(its_free)(block);
  return taken;
}

// Who answers requests in this library's place: the file of another definition of malloc that comes
// first in the search order and does not end here (an allocator before this library in LD_PRELOAD,
// a second copy of it), or a tool that redirects the functions themselves, as valgrind does. Null
// where they arrive.
const char* stands_before(Dl_info* info) noexcept {
  Dl_info own;
  if (dladdr(reinterpret_cast<void*>(&remember_library_path), &own) == 0 ||
      !find_first_malloc(info)) {
    return nullptr;
  }
  if (info->dli_fbase == own.dli_fbase) {
    // By this library's own names: the program may define these functions, too.
    void* self = dlopen(own.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (self == nullptr) return nullptr;
    const bool reached = arrives(dlsym(self, "malloc"), dlsym(self, "free"));
    dlclose(self);
    return reached ? nullptr : "a tool such as valgrind";
  }
  const bool is_copy = strstr(info->dli_fname, "/liboomguard.so") != nullptr;
  const bool reached = arrives(dlsym(RTLD_DEFAULT, "malloc"), dlsym(RTLD_DEFAULT, "free"));
  return reached && !is_copy ? nullptr : info->dli_fname;
}

void say(const char* start, const char* library, const char* end) noexcept {
  char line[512];
  size_t used = 0;
  for (const char* part : {start, library, end}) {
    for (; *part != '\0' && used < sizeof line; ++part) line[used++] = *part;
  }
  sys::write(2, line, used);
}

void say_off(const char* before) noexcept {
  say("oomguard: off in this process: ", before,
      before[0] == '/'
          ? " comes before this liboomguard.so in LD_PRELOAD, so that requests for memory "
            "do not arrive here\n"
          : " answers in its place, so that requests for memory do not arrive here\n");
}

// Its requests arrive, but it could not live with a refusal.
void say_not_refused(const char* before) noexcept {
  if (before == nullptr || !budget::never_refused(budget::classify_path(before))) return;
  gate.set_granted_over_line();
  say("oomguard: ", before,
      " comes before this liboomguard.so in LD_PRELOAD: what it asks for cannot be refused, so the "
      "exception comes from a signal instead\n");
}

// A share of the limit, and not enough of it.
void warn_small_budget(int64_t budget) noexcept {
  char size[24];
  options::format_bytes(budget, size, sizeof size);
  say("oomguard: OOMGUARD_BUDGET comes to ", size,
      " here, less than the 16 MiB that a program needs; using the default, auto\n");
}

// Where the interpreter's code is, for the question who can be refused.
void find_interpreter() noexcept {
  budget::set_interpreter_address(
      reinterpret_cast<uintptr_t>(dlsym(RTLD_DEFAULT, "Py_IsInitialized")));
  void* loop = dlsym(RTLD_DEFAULT, "_PyEval_EvalFrameDefault");
  Dl_info info;
  ElfW(Sym)* symbol = nullptr;
  if (loop == nullptr ||
      dladdr1(loop, &info, reinterpret_cast<void**>(&symbol), RTLD_DL_SYMENT) == 0 ||
      symbol == nullptr) {
    return;
  }
  void* this_thread = dlsym(RTLD_DEFAULT, "PyGILState_GetThisThreadState");
  budget::set_interpreter_loop(reinterpret_cast<uintptr_t>(loop), symbol->st_size,
                               reinterpret_cast<void* (*)()>(this_thread));
}

// The root decides for its whole tree: deeper ones are not raised again and again.
void prefer_children_as_victims() noexcept {
  if (budget::group_table.origin() != 0) {
    children::set_child_score(budget::group_table.child_score());
    children::make_first_victim(0);  // posix_spawn's child cannot be told before it is here
    return;
  }
  const int own = children::own_score();
  if (own == children::kNoScore) return;
  children::set_child_score(children::raised(own));
  budget::group_table.set_child_score(children::child_score());
}

// `is_root`: of a tree of its own, whoever started it.
void guard(const options::Values& values, bool is_root) noexcept {
  const budget::Gate::Start seen = gate.start();
  if (seen.refused_budget != 0) warn_small_budget(seen.refused_budget);
  budget::relief::init();
  session::start(values.directory, seen.limit, gate.reserve(), gate.probe.oom_kills(),
                 seen.limit_path, static_cast<uint64_t>(values.flight_bytes));
  spill::configure(values, seen.limit);
  trace::start(values.sample_mean_bytes);
  early_crash::watch();
  if (is_root) budget::group_table.begin_tree();
  budget::tree::join(gate.probe);
  session::set_tree(budget::group_table.tree());
  prefer_children_as_victims();
  session::set_oom_score(children::own_score());
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  gate.set_mode(budget::Gate::Mode::kOn);
  budget::watchdog::allow();
}

// False where this process is not guarded.
bool begin(int argc, char** argv, char** environment) noexcept {
  options::Values values;
  if (options::switched_off(environment)) {
    values.enabled = false;
    gate.configure(values);
    return false;
  }
  python::detect();
  const bool is_python = python::state() != python::State::kNotPython;
  const bool is_run = is_run_program(environment);
  size_t told = is_python || is_run ? 0 : kMostWarnings;
  options::Files files = options::policy_files(environment);
  if (!is_python && !is_run) files.user[0] = '\0';  // a shell does not wait for a home folder
  options::read_settings(environment, files, &values, warn, &told);
  gate.configure(values);
  remember_library_path();
  if (!values.enabled || (!is_python && !is_run)) return false;
  Dl_info first{};
  if (const char* before = stands_before(&first); before != nullptr) {
    say_off(before);
    return false;
  }
  if (values.directory[0] == '\0') {
    options::default_directory(environment, static_cast<unsigned>(getuid()), values.directory,
                               sizeof values.directory);
  }
  if (early_crash::crashed_before(values.directory, argc, argv)) return false;
  gate.configure(values);
  find_interpreter();
  budget::gate.set_only_c(!is_python);
  guard(values, is_run);
  say_not_refused(first.dli_fname);
  return true;
}

[[gnu::constructor(101)]] void start(int argc, char** argv, char** environment) noexcept {
  const int saved_errno = errno;
  interpose::resolve();
  if (!begin(argc, argv, environment)) gate.set_mode(budget::Gate::Mode::kOff);
  errno = saved_errno;
}

[[gnu::destructor(101)]] void finish() noexcept {
  if (gate.mode() != budget::Gate::Mode::kOn) return;
  gpu::ledger.leave_tree();  // static destructors free memory after this
  budget::group_table.leave();
  session::finish();
}

}  // namespace
}  // namespace oomguard
