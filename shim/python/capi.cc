#include "shim/python/capi.h"

#include "shim/core/dl.h"

namespace oomguard::python {

constinit Api api{};

namespace {

template <typename T>
bool find(const char* name, T* out) noexcept {
  *out = reinterpret_cast<T>(dlsym(RTLD_DEFAULT, name));
  return *out != nullptr;
}

}  // namespace

bool resolve() noexcept {
  bool complete = true;
#define OOMGUARD_CAPI_FIND(result, name, parameters) complete = complete && find(#name, &api.name);
  OOMGUARD_CAPI(OOMGUARD_CAPI_FIND)
#undef OOMGUARD_CAPI_FIND
  return complete && find("_Py_NoneStruct", &api.none) &&
         find("PyExc_Exception", &api.exception_class);
}

}  // namespace oomguard::python
