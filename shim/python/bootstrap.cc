#include "shim/python/bootstrap.h"

#include <atomic>
#include <cerrno>
#include <cstring>

#include "shim/core/dl.h"
#include "shim/core/engine.h"
#include "shim/python/bridge.h"
#include "shim/python/capi.h"
#include "shim/python/sources.h"

namespace oomguard::python {

namespace {

// Written by compare-and-swap from kWaiting (any slow path of the main thread) and by the pending
// call, which runs in that same thread.
constinit std::atomic<State> g_state{State::kNotPython};
constinit uint32_t g_version = 0;

constexpr uint32_t kOldest = (3u << 16) | 9u;
constexpr uint32_t kCountsThreads = (3u << 16) | 12u;
constexpr uint32_t kQueuesForMain = (3u << 16) | 12u;

// Py_AddPendingCall up to 3.11 takes the interpreter from the state of whichever thread holds the
// interpreter's lock. In a thread that does not, that is another one's, which may end and be freed
// in between. This is what it calls then, with an interpreter; null from 3.12 on, which queue for
// the main one.
using AddTo = int (*)(void* interpreter, int (*)(void*), void*);
constinit AddTo g_add_to = nullptr;

// For the main thread of the main interpreter. From any thread, with the interpreter's lock or
// without. Takes its lock of pending calls; it allocates nothing while it holds that one, so that a
// thread that comes from an allocation cannot hold it already. False: the queue is full.
bool queue(int (*call)(void*), void* argument) noexcept {
  return (g_add_to != nullptr ? g_add_to(api.PyInterpreterState_Main(), call, argument)
                              : api.Py_AddPendingCall(call, argument)) == 0;
}

// "3.11.7 (main, ...) [GCC ...]" -> (3 << 16) | 11; 0 where it reads differently.
uint32_t parse_version(const char* text) noexcept {
  uint32_t major = 0;
  uint32_t minor = 0;
  while (*text >= '0' && *text <= '9') major = major * 10 + static_cast<uint32_t>(*text++ - '0');
  if (*text++ != '.') return 0;
  while (*text >= '0' && *text <= '9') minor = minor * 10 + static_cast<uint32_t>(*text++ - '0');
  return (major << 16) | (minor & 0xffff);
}

// Py_IsInitialized turns true before `site` is imported. Code that ran in between would see a
// half-made sys.path, and `site` itself may replace the hooks that we wrap.
bool site_is_done() noexcept {
  PyObject* site = api.PyDict_GetItemString(api.PyImport_GetModuleDict(), "site");
  if (site == nullptr) {
    PyObject* flags = api.PySys_GetObject("flags");
    if (flags == nullptr) return false;
    const Ref no_site(api.PyObject_GetAttrString(flags, "no_site"));
    return no_site && api.PyObject_IsTrue(no_site.get()) == 1;
  }
  const Ref spec(api.PyObject_GetAttrString(site, "__spec__"));
  if (!spec) return true;  // somebody's own object under that name: it is there, do not wait
  const Ref initializing(api.PyObject_GetAttrString(spec.get(), "_initializing"));
  return !initializing || api.PyObject_IsTrue(initializing.get()) != 1;
}

// Runs boot.py in a namespace of its own. False with a Python exception set.
bool run_boot() noexcept {
  const Source* boot = find_source("boot");
  const Ref bridge(make_bridge());
  const Ref names(api.PyDict_New());
  if (!bridge || !names) return false;
  if (api.PyDict_SetItemString(names.get(), "__builtins__", api.PyEval_GetBuiltins()) != 0 ||
      api.PyDict_SetItemString(names.get(), "bridge", bridge.get()) != 0) {
    return false;
  }
  const Ref code(api.Py_CompileString(boot->text, "<oomguard boot>", kPyFileInput));
  if (!code) return false;
  return static_cast<bool>(Ref(api.PyEval_EvalCode(code.get(), names.get(), names.get())));
}

// The pending call's body, with no exception set. Returns -1 where an exception that is not ours
// (Ctrl-C during the boot) has to go on to the program.
int boot_in_main_interpreter() noexcept {
  if (!site_is_done()) {
    api.PyErr_Clear();
    // Not queued again from here: the interpreter would call back at once, without end. The next
    // slow path does it.
    g_state.store(State::kWaiting, std::memory_order_release);
    return 0;
  }
  api.PyErr_Clear();
  engine::set_python(g_version, false, "", "");
  if (run_boot()) {
    g_state.store(State::kReady, std::memory_order_release);
    return 0;
  }
  const bool ours = api.PyErr_ExceptionMatches(*api.exception_class) != 0;
  g_state.store(State::kFailed, std::memory_order_release);
  if (!ours) return -1;
  api.PyErr_Clear();
  return 0;
}

// Called by the interpreter in its main thread with its lock held.
int pending_call(void*) noexcept {
  const int saved_errno = errno;
  int result = 0;
  if (api.PyInterpreterState_Get() != api.PyInterpreterState_Main()) {
    // Where the interpreter exports less than it does by default, and is older than 3.12, the queue
    // is that of whichever interpreter runs.
    g_state.store(State::kWaiting, std::memory_order_release);
  } else {
    PyObject* type = nullptr;
    PyObject* value = nullptr;
    PyObject* traceback = nullptr;
    api.PyErr_Fetch(&type, &value, &traceback);
    result = boot_in_main_interpreter();
    if (result == 0 || type != nullptr) api.PyErr_Restore(type, value, traceback);
  }
  errno = saved_errno;
  return result;
}

// -1: an exception that is not ours (Ctrl-C meanwhile) goes on to the program.
// `scarce`: null where only a load's progress may be shown.
int notice_call(void* scarce) noexcept {
  const int saved_errno = errno;
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* traceback = nullptr;
  api.PyErr_Fetch(&type, &value, &traceback);
  const bool ended = show_notice(scarce != nullptr);
  if (ended || type != nullptr) api.PyErr_Restore(type, value, traceback);
  errno = saved_errno;
  return ended ? 0 : -1;
}

int run_call(void* call) noexcept {
  const int saved_errno = errno;
  reinterpret_cast<void (*)() noexcept>(call)();
  errno = saved_errno;
  return 0;
}

}  // namespace

uint32_t version() noexcept { return g_version; }

void detect() noexcept {
  if (dlsym(RTLD_DEFAULT, "Py_IsInitialized") == nullptr) return;
  State found = State::kFailed;
  if (resolve()) {
    const char* text = api.Py_GetVersion();
    g_version = parse_version(text);
    // The free-threaded build is left alone: its reference counts and locks were not tried here.
    if (g_version >= kOldest && strstr(text, "free-threading") == nullptr) found = State::kWaiting;
    if (g_version < kQueuesForMain) {
      g_add_to = reinterpret_cast<AddTo>(dlsym(RTLD_DEFAULT, "_PyEval_AddPendingCall"));
    }
  }
  g_state.store(found, std::memory_order_release);
}

State state() noexcept { return g_state.load(std::memory_order_acquire); }

bool is_initialized() noexcept {
  const State now = state();
  return now != State::kNotPython && now != State::kFailed && api.Py_IsInitialized() != 0;
}

void on_slow_path(bool is_main_thread) noexcept {
  if (g_state.load(std::memory_order_relaxed) != State::kWaiting || !is_main_thread) return;
  if (api.Py_IsInitialized() == 0) return;
  State expected = State::kWaiting;
  if (!g_state.compare_exchange_strong(expected, State::kQueued, std::memory_order_acq_rel)) return;
  if (!queue(pending_call, nullptr)) g_state.store(State::kWaiting, std::memory_order_release);
}

bool counts_threads() noexcept { return g_version >= kCountsThreads && state() != State::kFailed; }

void show_notice_soon(bool scarce) noexcept {
  if (state() == State::kReady) {
    static_cast<void>(queue(notice_call, scarce ? &g_state : nullptr));
  }
}

void run_soon(void (*call)() noexcept) noexcept {
  if (state() != State::kReady) return;
  static_cast<void>(queue(run_call, reinterpret_cast<void*>(call)));
}

void on_fork_child() noexcept {
  // The queue, the module and the signal handler are memory of the interpreter and were copied with
  // it; a call that was queued in the parent runs here as it would have there.
}

}  // namespace oomguard::python
