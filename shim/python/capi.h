// The few functions of CPython's C interface that the bootstrap uses, found by name at run time.
//
// No Python header and no libpython at build time: one binary serves every version from 3.9 on,
// with a static interpreter (symbols of the executable) as with a shared libpython. All names are
// in the exported interface of 3.9 to 3.14; objects are only ever handled as opaque pointers, so
// that no structure of the interpreter is assumed except PyMethodDef, unchanged since Python 2.
// Thread-safety: `resolve` once, from the shim's constructor; read-only afterwards.
// Callable from a hook: only api.Py_IsInitialized, api.PyInterpreterState_Main and, where the
// interpreter's lock is held (bootstrap.cc), api.Py_AddPendingCall are.
#pragma once

#include <cstddef>

namespace oomguard::python {

struct PyObject;

using PyCFunction = PyObject* (*)(PyObject* self, PyObject* args);

struct PyMethodDef {
  const char* name;
  PyCFunction function;
  int flags;
  const char* doc;
};
inline constexpr int kMethVarargs = 1;    // METH_VARARGS
inline constexpr int kMethNoargs = 4;     // METH_NOARGS: called without making a tuple
inline constexpr int kPyFileInput = 257;  // Py_file_input

// X(result, name, parameters)
#define OOMGUARD_CAPI(X)                                                          \
  X(int, Py_IsInitialized, ())                                                    \
  X(int, Py_AddPendingCall, (int (*)(void*), void*))                              \
  X(const char*, Py_GetVersion, ())                                               \
  X(void*, PyInterpreterState_Get, ())                                            \
  X(void*, PyInterpreterState_Main, ())                                           \
  X(void, PyErr_Fetch, (PyObject**, PyObject**, PyObject**))                      \
  X(void, PyErr_Restore, (PyObject*, PyObject*, PyObject*))                       \
  X(void, PyErr_Clear, ())                                                        \
  X(int, PyErr_ExceptionMatches, (PyObject*))                                     \
  X(PyObject*, PyImport_GetModuleDict, ())                                        \
  X(PyObject*, PySys_GetObject, (const char*))                                    \
  X(PyObject*, PyDict_New, ())                                                    \
  X(PyObject*, PyDict_GetItemString, (PyObject*, const char*))                    \
  X(int, PyDict_SetItemString, (PyObject*, const char*, PyObject*))               \
  X(PyObject*, PyObject_GetAttrString, (PyObject*, const char*))                  \
  X(int, PyObject_SetAttrString, (PyObject*, const char*, PyObject*))             \
  X(int, PyObject_IsTrue, (PyObject*))                                            \
  X(PyObject*, PyModule_New, (const char*))                                       \
  X(PyObject*, PyCFunction_NewEx, (PyMethodDef*, PyObject*, PyObject*))           \
  X(PyObject*, Py_CompileString, (const char*, const char*, int))                 \
  X(PyObject*, PyEval_EvalCode, (PyObject*, PyObject*, PyObject*))                \
  X(PyObject*, PyEval_GetBuiltins, ())                                            \
  X(PyObject*, PyObject_CallObject, (PyObject*, PyObject*))                       \
  X(PyObject*, PyUnicode_DecodeUTF8, (const char*, ptrdiff_t, const char*))       \
  X(PyObject*, PyLong_FromLongLong, (long long))                                  \
  X(PyObject*, PyBool_FromLong, (long))                                           \
  X(int, PyArg_ParseTuple, (PyObject*, const char*, ...))                         \
  X(PyObject*, Py_BuildValue, (const char*, ...))                                 \
  X(int, PyThreadState_SetAsyncExc, (unsigned long, PyObject*))                   \
  X(void, Py_IncRef, (PyObject*))                                                 \
  X(void, Py_DecRef, (PyObject*))

struct Api {
#define OOMGUARD_CAPI_MEMBER(result, name, parameters) result(*name) parameters;
  OOMGUARD_CAPI(OOMGUARD_CAPI_MEMBER)
#undef OOMGUARD_CAPI_MEMBER
  PyObject* none;              // Py_None
  PyObject** exception_class;  // PyExc_Exception
};

extern constinit Api api;

// Fills `api` from the global scope. False where a name is missing.
[[nodiscard]] bool resolve() noexcept;

// A reference that is given back at the end of the scope.
class Ref {
 public:
  explicit Ref(PyObject* owned) noexcept : object_(owned) {}
  Ref(const Ref&) = delete;
  Ref& operator=(const Ref&) = delete;
  ~Ref() {
    if (object_ != nullptr) api.Py_DecRef(object_);
  }
  PyObject* get() const noexcept { return object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }

 private:
  PyObject* object_;
};

}  // namespace oomguard::python
