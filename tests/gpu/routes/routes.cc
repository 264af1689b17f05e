// Every way in which a program can come to the driver's functions.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <functional>

#include "tests/gpu/routes/api.h"

namespace routes {

constexpr std::array<Form, kCount> make_forms() {
  return {{
#define FAKE_CUDA(base, version, symbol) {#base, version, false, #symbol},
#define FAKE_CUDA_PTSZ(base, version, symbol) {#base, version, true, #symbol},
#include "tests/gpu/fake/functions.def"
#undef FAKE_CUDA
#undef FAKE_CUDA_PTSZ
  }};
}
const std::array<Form, kCount> kForms = make_forms();

namespace {

constexpr char kDriver[] = "libcuda.so.1";

[[noreturn]] void give_up(const char* what) {
  const char* why = dlerror();
  fprintf(stderr, "%s: %s\n", what, why != nullptr ? why : "failed");
  exit(3);
}

void* must(void* found, const char* what) {
  if (found == nullptr) give_up(what);
  return found;
}

void fill(Api& api, const std::function<void*(const Form&)>& look) {
  for (int i = 0; i < kCount; ++i) api.at[i] = look(kForms[i]);
}

using Lookup1 = decltype(&cuGetProcAddress);
using Lookup2 = decltype(&cuGetProcAddress_v2);

cuuint64_t flags_of(const Form& form) {
  return form.per_thread ? CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM
                         : CU_GET_PROC_ADDRESS_LEGACY_STREAM;
}

void fill_by(Api& api, Lookup1 lookup) {
  fill(api, [lookup](const Form& form) {
    void* found = nullptr;
    lookup(form.base, &found, form.version, flags_of(form));
    return found;
  });
}

void fill_by(Api& api, Lookup2 lookup) {
  fill(api, [lookup](const Form& form) {
    void* found = nullptr;
    CUdriverProcAddressQueryResult status;
    const CUresult result = lookup(form.base, &found, form.version, flags_of(form), &status);
    return result == CUDA_SUCCESS && status == CU_GET_PROC_ADDRESS_SUCCESS ? found : nullptr;
  });
}

template <typename Function>
Function ask_for_lookup(Lookup2 lookup, int version) {
  void* found = nullptr;
  lookup("cuGetProcAddress", &found, version, CU_GET_PROC_ADDRESS_DEFAULT, nullptr);
  return reinterpret_cast<Function>(must(found, "cuGetProcAddress asked for itself"));
}

Lookup2 lookup2(const Api& api) {
  return reinterpret_cast<Lookup2>(must(dlsym(api.driver, "cuGetProcAddress_v2"), "lookup"));
}

#ifdef OOMGUARD_ROUTES_LINKED
void* linked(const Form& form) {
  static const std::array<void*, kCount> addresses = {{
#define FAKE_CUDA(base, version, symbol) reinterpret_cast<void*>(&symbol),
#define FAKE_CUDA_PTSZ(base, version, symbol) reinterpret_cast<void*>(&symbol),
#include "tests/gpu/fake/functions.def"
#undef FAKE_CUDA
#undef FAKE_CUDA_PTSZ
  }};
  return addresses[&form - kForms.data()];
}
#endif

// The library that is linked with the driver, opened with RTLD_DEEPBIND.
void fill_deepbind(Api& api, const char* by) {
  const std::string path = std::string(getenv("OOMGUARD_ROUTES_FOLDER")) + "/user.so";
  void* user = must(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND), path.c_str());
  auto* look = reinterpret_cast<void* (*)(void*, const char*)>(must(dlsym(user, by), by));
  fill(api, [&](const Form& form) { return look(api.driver, form.symbol); });
}

}  // namespace

void* fake_function(const Api& api, const char* name) {
  return must(dlsym(api.driver, name), name);
}

Api take_route(const std::string& route) {
  Api api;
  if (route == "dlmopen") {
    api.driver = must(dlmopen(LM_ID_NEWLM, kDriver, RTLD_NOW | RTLD_LOCAL), kDriver);
  } else {
    api.driver = must(dlopen(kDriver, RTLD_NOW | RTLD_LOCAL), kDriver);
  }
  if (route == "dlsym" || route == "dlmopen") {
    fill(api, [&](const Form& form) { return dlsym(api.driver, form.symbol); });
  } else if (route == "dlvsym") {  // a library without versions has every one
    fill(api, [&](const Form& form) { return dlvsym(api.driver, form.symbol, "libcuda.so.1"); });
  } else if (route == "lookup1") {
    fill_by(api, reinterpret_cast<Lookup1>(must(dlsym(api.driver, "cuGetProcAddress"), "lookup")));
  } else if (route == "lookup2") {
    fill_by(api, lookup2(api));
  } else if (route == "lookup1-by-lookup2") {
    fill_by(api, ask_for_lookup<Lookup1>(lookup2(api), 11030));
  } else if (route == "lookup2-by-lookup2") {
    fill_by(api, ask_for_lookup<Lookup2>(lookup2(api), 12000));
  } else if (route == "deepbind-linked") {
    fill_deepbind(api, "linked_address");
  } else if (route == "deepbind-dlsym") {
    fill_deepbind(api, "looked_up_address");
#ifdef OOMGUARD_ROUTES_LINKED
  } else if (route == "linked") {
    fill(api, linked);
  } else if (route == "next") {
    fill(api, [](const Form& form) { return dlsym(RTLD_NEXT, form.symbol); });
  } else if (route == "default") {
    fill(api, [](const Form& form) { return dlsym(RTLD_DEFAULT, form.symbol); });
#endif
  } else {
    fprintf(stderr, "no such route: %s\n", route.c_str());
    exit(2);
  }
  return api;
}

}  // namespace routes
