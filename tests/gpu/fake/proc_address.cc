// cuGetProcAddress in both forms, as its documentation in cuda.h says. A function that the toolkit
// knows and the fake has not is found, too: an entry that only says "not supported", so that the
// real runtime library resolves all that it asks for.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include "tests/gpu/fake/arena.h"

namespace fake {
namespace {

struct Form {
  const char* base;
  int version;
  bool per_thread;
  const char* symbol;
  void* address;
};

CUresult not_supported() { return CUDA_ERROR_NOT_SUPPORTED; }

const Form kForms[] = {
#define FAKE_CUDA(base, version, symbol) \
  {#base, version, false, #symbol, reinterpret_cast<void*>(&symbol)},
#define FAKE_CUDA_PTSZ(base, version, symbol) \
  {#base, version, true, #symbol, reinterpret_cast<void*>(&symbol)},
#include "tests/gpu/fake/functions.def"
#undef FAKE_CUDA
#undef FAKE_CUDA_PTSZ
// Every form that cudaTypedefs.h names, written by CMake.
#define FAKE_CUDA_STUB(base, version, per_thread) \
  {#base, version, per_thread, "", reinterpret_cast<void*>(&not_supported)},
#include "known_forms.inc"
#undef FAKE_CUDA_STUB
};

// Only bases that the fake has not at all come from the second list.
bool stub_of_own_function(const Form& form) {
  if (*form.symbol != '\0') return false;
  for (const Form& other : kForms) {
    if (*other.symbol != '\0' && strcmp(other.base, form.base) == 0) return true;
  }
  return false;
}

void note(const char* name, int version, cuuint64_t flags, const Form* found, void* caller) {
  static const char* const file = getenv("FAKE_CUDA_ASKED");
  if (file == nullptr) return;
  Dl_info info = {};
  dladdr(caller, &info);
  char line[512];
  const int length =
      snprintf(line, sizeof line, "%s %d %d %s %s\n", name, version, static_cast<int>(flags),
               found == nullptr         ? "-"
               : *found->symbol == '\0' ? "?"
                                        : found->symbol,
               info.dli_fname != nullptr ? info.dli_fname : "?");
  const int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (write(fd, line, length) != length) abort();
  close(fd);
}

CUresult look_up(const char* name, void** out, int version, cuuint64_t flags,
                 CUdriverProcAddressQueryResult* status, void* caller) {
  if (name == nullptr || out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (version > driver_version()) return CUDA_ERROR_INVALID_VALUE;
  const bool per_thread = (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0;
  const Form* best = nullptr;
  bool known = false;
  for (const Form& form : kForms) {
    if (strcmp(form.base, name) != 0 || form.version > driver_version()) continue;
    if (stub_of_own_function(form)) continue;
    known = true;
    if (form.version > version || (form.per_thread && !per_thread)) continue;
    // The per-thread form of a version comes before the other one, whatever its number.
    if (best == nullptr || form.per_thread > best->per_thread ||
        (form.per_thread == best->per_thread && form.version > best->version)) {
      best = &form;
    }
  }
  note(name, version, flags, best, caller);
  *out = best != nullptr ? best->address : nullptr;
  if (status != nullptr) {
    *status = best != nullptr ? CU_GET_PROC_ADDRESS_SUCCESS
              : known         ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                              : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  }
  // Without a status to set, only an error tells.
  return best == nullptr && status == nullptr ? CUDA_ERROR_NOT_FOUND : CUDA_SUCCESS;
}

}  // namespace
}  // namespace fake

extern "C" {

CUresult cuGetProcAddress(const char* name, void** out, int version, cuuint64_t flags) {
  FAKE_CUDA_ENTER(cuGetProcAddress);
  return fake::look_up(name, out, version, flags, nullptr, __builtin_return_address(0));
}

CUresult cuGetProcAddress_v2(const char* name, void** out, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult* status) {
  FAKE_CUDA_ENTER(cuGetProcAddress_v2);
  return fake::look_up(name, out, version, flags, status, __builtin_return_address(0));
}

}  // extern "C"
