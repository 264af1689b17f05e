#include "collector/cupti/library.h"

#include <dlfcn.h>

namespace oomguard::cupti {
namespace {

constexpr int kNewestMajor = CUPTI_API_VERSION / 10000;
constexpr int kOldestMajor = 12;  // its records begin as today's do

std::string soname(int major) { return "libcupti.so." + std::to_string(major); }

void* find(int driver_major, std::string* why) {
  for (int major = kNewestMajor; major >= kOldestMajor; --major) {
    if (void* loaded = dlopen(soname(major).c_str(), RTLD_NOW | RTLD_NOLOAD)) return loaded;
  }
  const std::string wanted = soname(driver_major);
  if (driver_major < kOldestMajor || driver_major > kNewestMajor) {
    *why = wanted + " is not known";
    return nullptr;
  }
  void* opened = dlopen(wanted.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) *why = "there is no " + wanted;
  return opened;
}

}  // namespace

bool Library::load(int driver_major, std::string* why) {
  void* const library = find(driver_major, why);
  if (library == nullptr) return false;
#define OOMGUARD_CUPTI_FIND(name)                                   \
  name = reinterpret_cast<decltype(name)>(dlsym(library, #name));   \
  if (name == nullptr) {                                            \
    *why = "the CUPTI of this process has no " #name;               \
    return false;                                                   \
  }
  OOMGUARD_CUPTI_FUNCTIONS(OOMGUARD_CUPTI_FIND)
#undef OOMGUARD_CUPTI_FIND
  return true;
}

}  // namespace oomguard::cupti
