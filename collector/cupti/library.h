// The CUPTI of this process. Thread-safety: one thread at a time.
#pragma once

#include <cupti.h>

#include <string>

namespace oomguard::cupti {

// The functions that the auditor calls; those of one loaded library.
struct Library {
#define OOMGUARD_CUPTI_FUNCTIONS(X)                                                    \
  X(cuptiGetVersion)                                                                   \
  X(cuptiGetResultString)                                                              \
  X(cuptiSubscribe)                                                                    \
  X(cuptiUnsubscribe)                                                                  \
  X(cuptiActivityRegisterCallbacks)                                                    \
  X(cuptiActivityEnable)                                                               \
  X(cuptiActivityDisable)                                                              \
  X(cuptiActivityFlushAll)                                                             \
  X(cuptiActivityGetNextRecord)
#define OOMGUARD_CUPTI_MEMBER(name) decltype(&::name) name = nullptr;
  OOMGUARD_CUPTI_FUNCTIONS(OOMGUARD_CUPTI_MEMBER)
#undef OOMGUARD_CUPTI_MEMBER

  // The library that is loaded already (PyTorch brings its own), else the one of the driver's major
  // version. False: there is none that will do, and `why` says what was tried.
  bool load(int driver_major, std::string* why);
};

}  // namespace oomguard::cupti
