#include "shim/python/bridge.h"

#include <cstdint>
#include <cstring>

#include "shim/core/engine.h"
#include "shim/python/sources.h"

namespace oomguard::python {

namespace {

// Long enough for the full report: sixteen levels, ten blocks, eight neighbours, a line each.
constexpr size_t kReportBytes = 16 * 1024;

constinit PyObject* g_notice = nullptr;  // what prints one; ours for good

PyObject* none() noexcept {
  api.Py_IncRef(api.none);
  return api.none;
}

// Paths need not be UTF-8; what is not is shown escaped.
PyObject* text(const char* bytes, size_t size) noexcept {
  return api.PyUnicode_DecodeUTF8(bytes, static_cast<ptrdiff_t>(size), "backslashreplace");
}

PyObject* text(const char* bytes) noexcept { return text(bytes, strlen(bytes)); }

// Puts a new reference under `key` and gives it back. False with an exception set.
bool put(PyObject* dict, const char* key, PyObject* owned) noexcept {
  const Ref value(owned);
  return value && api.PyDict_SetItemString(dict, key, value.get()) == 0;
}

bool put(PyObject* dict, const char* key, int64_t number) noexcept {
  return put(dict, key, api.PyLong_FromLongLong(number));
}

// INT64_MAX is the engine's "nothing limits"; Python's is None.
PyObject* limit_or_none(int64_t bytes) noexcept {
  return bytes == INT64_MAX ? none() : api.PyLong_FromLongLong(bytes);
}

PyObject* usage(PyObject*, PyObject*) noexcept {
  engine::Usage now{};
  if (!engine::usage(&now)) return none();
  const Ref dict(api.PyDict_New());
  const bool complete = dict && put(dict.get(), "limit", limit_or_none(now.limit_bytes)) &&
                        put(dict.get(), "used", now.used_bytes) &&
                        put(dict.get(), "headroom", limit_or_none(now.headroom_bytes)) &&
                        put(dict.get(), "reserve", now.reserve_bytes) &&
                        put(dict.get(), "limit_name", text(now.limit_name));
  if (!complete) return nullptr;
  api.Py_IncRef(dict.get());
  return dict.get();
}

PyObject* refusal_count(PyObject*, PyObject*) noexcept {
  return api.PyLong_FromLongLong(static_cast<int64_t>(engine::refusal_count()));
}

const record::LevelRecord* binding_level(const record::RefusalRecord& refusal) noexcept {
  for (uint32_t i = 0; i < refusal.level_count && i < record::kLevelSlots; ++i) {
    if (refusal.levels[i].binds != 0) return &refusal.levels[i];
  }
  return nullptr;
}

bool put_refusal(PyObject* dict, const record::RefusalRecord& refusal) noexcept {
  const record::LevelRecord* level = binding_level(refusal);
  const uint64_t number = refusal.sequence.load(std::memory_order_acquire);
  const int64_t limit = level != nullptr ? level->limit_bytes : INT64_MAX;
  const int64_t used = level != nullptr ? level->usage_bytes - level->reclaimable_bytes : 0;
  return put(dict, "number", static_cast<int64_t>(number)) &&
         put(dict, "incident", static_cast<int64_t>(refusal.incident)) &&
         put(dict, "time_ns", refusal.at_realtime_ns) &&
         put(dict, "thread_id", static_cast<int64_t>(refusal.thread_id)) &&
         put(dict, "kind", static_cast<int64_t>(refusal.kind)) &&
         put(dict, "outcome", static_cast<int64_t>(refusal.outcome)) &&
         put(dict, "request_bytes", refusal.request_bytes) &&
         put(dict, "limit", limit_or_none(limit)) && put(dict, "used", used) &&
         put(dict, "limit_kind", static_cast<int64_t>(level != nullptr ? level->kind : 0)) &&
         put(dict, "limit_path", text(level != nullptr ? level->path : "")) &&
         put(dict, "surfaced", api.PyBool_FromLong(refusal.surfaced != 0)) &&
         put(dict, "module", text(refusal.module)) && put(dict, "where", text(refusal.where));
}

PyObject* refusal(PyObject*, PyObject* args) noexcept {
  unsigned long long number = 0;
  if (!api.PyArg_ParseTuple(args, "K", &number)) return nullptr;
  record::RefusalRecord found{};
  if (!engine::copy_refusal(number, &found)) return none();
  const Ref dict(api.PyDict_New());
  if (!dict || !put_refusal(dict.get(), found)) return nullptr;
  api.Py_IncRef(dict.get());
  return dict.get();
}

PyObject* render(PyObject*, PyObject* args) noexcept {
  unsigned long long number = 0;
  int audience = 0;
  if (!api.PyArg_ParseTuple(args, "Ki", &number, &audience)) return nullptr;
  char report[kReportBytes];
  const auto reader = static_cast<record::Audience>(audience);
  const size_t size = engine::render_refusal(number, reader, report, sizeof(report));
  return text(report, size < sizeof(report) ? size : sizeof(report));
}

PyObject* note(PyObject*, PyObject* args) noexcept {
  unsigned long long number = 0;
  if (!api.PyArg_ParseTuple(args, "K", &number)) return nullptr;
  char line[1024];
  const size_t size = engine::render_refusal_note(number, line, sizeof(line));
  return text(line, size < sizeof(line) ? size : sizeof(line));
}

PyObject* unsurfaced(PyObject*, PyObject* args) noexcept {
  int thread_id = 0;
  if (!api.PyArg_ParseTuple(args, "i", &thread_id)) return nullptr;
  return api.PyLong_FromLongLong(static_cast<int64_t>(engine::unsurfaced_refusal(thread_id)));
}

PyObject* childs_refusal(PyObject*, PyObject*) noexcept {
  return api.PyLong_FromLongLong(static_cast<int64_t>(engine::childs_refusal()));
}

PyObject* surfaced(PyObject*, PyObject* args) noexcept {
  unsigned long long number = 0;
  const char* where = nullptr;
  if (!api.PyArg_ParseTuple(args, "Ky", &number, &where)) return nullptr;
  engine::surfaced(number, where);
  return none();
}

PyObject* name_file(PyObject*, PyObject* args) noexcept {
  unsigned long long number = 0;
  const char* path = nullptr;
  const char* label = nullptr;
  if (!api.PyArg_ParseTuple(args, "Kyy", &number, &path, &label)) return nullptr;
  engine::name_file(number, path, label);
  return none();
}

PyObject* trim(PyObject*, PyObject*) noexcept {
  engine::trim();
  return none();
}

PyObject* parse_bytes(PyObject*, PyObject* args) noexcept {
  const char* text = nullptr;
  if (!api.PyArg_ParseTuple(args, "s", &text)) return nullptr;
  int64_t bytes = 0;
  return options::parse_bytes(text, &bytes) ? api.PyLong_FromLongLong(bytes) : none();
}

PyObject* set_budget(PyObject*, PyObject* args) noexcept {
  long long bytes = 0;
  if (!api.PyArg_ParseTuple(args, "L", &bytes)) return nullptr;
  engine::set_budget(bytes);
  return none();
}

PyObject* take_peak(PyObject*, PyObject*) noexcept {
  return api.PyLong_FromLongLong(engine::take_peak());
}

PyObject* see_host(PyObject*, PyObject* args) noexcept {
  int change = 0;
  if (!api.PyArg_ParseTuple(args, "i", &change)) return nullptr;
  engine::see_host(change);
  return none();
}

PyObject* on_notice(PyObject*, PyObject* args) noexcept {
  PyObject* function = nullptr;
  if (!api.PyArg_ParseTuple(args, "O", &function)) return nullptr;
  api.Py_IncRef(function);
  g_notice = function;
  engine::allow_notices();
  return none();
}

PyObject* interpreter_ends(PyObject*, PyObject*) noexcept {
  engine::interpreter_ends();
  return none();
}

PyObject* ending(PyObject*, PyObject* args) noexcept {
  unsigned long long number = 0;
  if (!api.PyArg_ParseTuple(args, "K", &number)) return nullptr;
  engine::ending(number);
  return none();
}

PyObject* signal_ready(PyObject*, PyObject* args) noexcept {
  int signal_number = 0;
  if (!api.PyArg_ParseTuple(args, "i", &signal_number)) return nullptr;
  engine::exception_signal_ready(signal_number);
  return none();
}

PyObject* handled(PyObject*, PyObject*) noexcept {
  engine::exception_handled();
  return none();
}

PyObject* alarm(PyObject*, PyObject*) noexcept {
  int32_t thread_id = 0;
  const uint64_t number = engine::alarm_refusal(&thread_id);
  return api.Py_BuildValue("Ki", static_cast<unsigned long long>(number), thread_id);
}

// Raises `exception` (a class) in another Python thread at its next bytecode.
PyObject* raise_in_thread(PyObject*, PyObject* args) noexcept {
  unsigned long ident = 0;
  PyObject* exception = nullptr;
  if (!api.PyArg_ParseTuple(args, "kO", &ident, &exception)) return nullptr;
  return api.PyLong_FromLongLong(api.PyThreadState_SetAsyncExc(ident, exception));
}

// These two are called when not a byte may be left: no arguments, no result that is made.
PyObject* privilege(PyObject*, PyObject*) noexcept {
  engine::add_privilege(1);
  return none();
}

PyObject* end_privilege(PyObject*, PyObject*) noexcept {
  engine::add_privilege(-1);
  return none();
}

PyObject* shell_started(PyObject*, PyObject*) noexcept {
  engine::shell_started();
  return none();
}

PyObject* is_kernel(PyObject*, PyObject* args) noexcept {
  const char* connection_file = nullptr;
  const char* notebook = nullptr;
  if (!api.PyArg_ParseTuple(args, "yy", &connection_file, &notebook)) return nullptr;
  engine::set_python(version(), true, connection_file, notebook);
  return none();
}

// What is told of a cell: its number and a text.
template <void (*tell)(uint32_t, const char*) noexcept>
PyObject* of_cell(PyObject*, PyObject* args) noexcept {
  unsigned int number = 0;
  const char* text = nullptr;
  if (!api.PyArg_ParseTuple(args, "Iy", &number, &text)) return nullptr;
  tell(number, text);
  return none();
}

PyObject* asked(PyObject*, PyObject*) noexcept {
  engine::asked_to_end();
  return none();
}

PyObject* keep_frames(PyObject*, PyObject*) noexcept {
  return api.PyBool_FromLong(engine::values().keep_frames ? 1 : 0);
}

PyObject* session_path(PyObject*, PyObject*) noexcept { return text(engine::session_path()); }

PyObject* source(PyObject*, PyObject* args) noexcept {
  const char* name = nullptr;
  if (!api.PyArg_ParseTuple(args, "s", &name)) return nullptr;
  const Source* found = find_source(name);
  return found == nullptr ? none() : text(found->text, found->size);
}

constinit PyMethodDef kMethods[] = {
    {"usage", usage, kMethVarargs, "Limit, used, headroom and reserve in bytes, or None."},
    {"refusal_count", refusal_count, kMethVarargs, "Refusals so far."},
    {"refusal", refusal, kMethVarargs, "Refusal number n (0: the newest) as a dict, or None."},
    {"render", render, kMethVarargs, "Report of refusal n for an audience."},
    {"note", note, kMethVarargs, "One line about refusal n."},
    {"unsurfaced", unsurfaced, kMethVarargs, "Newest refusal of a thread that nobody has seen."},
    {"childs_refusal", childs_refusal, kMethVarargs, "A child's newest, as one of this process."},
    {"surfaced", surfaced, kMethVarargs, "A person has seen refusal n."},
    {"name_file", name_file, kMethVarargs, "What a person knows a file of refusal n as."},
    {"trim", trim, kMethVarargs, "Gives back what the allocator keeps of freed memory."},
    {"parse_bytes", parse_bytes, kMethVarargs, "Bytes of a size as people write it, or None."},
    {"set_budget", set_budget, kMethVarargs, "A budget beside the configured one; 0: none."},
    {"take_peak", take_peak, kMethVarargs, "The most memory seen since this was asked last."},
    {"see_host", see_host, kMethVarargs, "Above 0 in sum: this thread sees the host's memory."},
    {"on_notice", on_notice, kMethVarargs,
     "Called while a cell runs: memory gets scarce, or not yet."},
    {"interpreter_ends", interpreter_ends, kMethVarargs, "Nothing of it may be read any more."},
    {"ending", ending, kMethVarargs, "Refusal n is about to end the program."},
    {"signal_ready", signal_ready, kMethVarargs, "The handler of this signal is in place."},
    {"handled", handled, kMethVarargs, "The handler has ended."},
    {"alarm", alarm, kMethVarargs, "(refusal number, native id of the thread that grew most)."},
    {"raise_in_thread", raise_in_thread, kMethVarargs, "Raises a class in another thread."},
    {"privilege", privilege, kMethNoargs, "Small requests may use the last bytes, until:"},
    {"end_privilege", end_privilege, kMethNoargs, "Once for each privilege()."},
    {"shell_started", shell_started, kMethVarargs, "A shell runs here: keep more for tracebacks."},
    {"is_kernel", is_kernel, kMethVarargs, "This process is a kernel with this connection file."},
    {"cell", of_cell<engine::set_cell>, kMethVarargs,
     "That cell, of this source, is executed; 0: none is."},
    {"name_cell", of_cell<engine::name_cell>, kMethVarargs, "A file stands for that cell."},
    {"asked", asked, kMethNoargs, "Its user or its server asked this process to end."},
    {"keep_frames", keep_frames, kMethVarargs, "--keep-frames was given."},
    {"session_path", session_path, kMethVarargs, "The session's file, or ''."},
    {"source", source, kMethVarargs, "Text of an embedded source, or None."},
};

}  // namespace

bool show_notice(bool scarce) noexcept {
  if (g_notice == nullptr) return true;
  const Ref arguments(api.Py_BuildValue("(i)", scarce ? 1 : 0));
  const Ref result(arguments ? api.PyObject_CallObject(g_notice, arguments.get()) : nullptr);
  if (result) return true;
  if (api.PyErr_ExceptionMatches(*api.exception_class) == 0) return false;
  api.PyErr_Clear();
  return true;
}

PyObject* make_bridge() noexcept {
  const Ref module(api.PyModule_New("oomguard._bridge"));
  if (!module) return nullptr;
  for (PyMethodDef& method : kMethods) {
    const Ref function(api.PyCFunction_NewEx(&method, nullptr, nullptr));
    if (!function) return nullptr;
    if (api.PyObject_SetAttrString(module.get(), method.name, function.get()) != 0) return nullptr;
  }
  api.Py_IncRef(module.get());
  return module.get();
}

}  // namespace oomguard::python
