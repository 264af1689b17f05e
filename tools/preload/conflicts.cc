#include "tools/preload/conflicts.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>

namespace oomguard::tools {
namespace {

constexpr std::string_view kLibrary = "liboomguard.so";
constexpr const char* kNotRefused =
    "what this allocator asks for cannot be refused: when memory runs out the exception comes from "
    "a "
    "signal, and a long call may be killed before it";
constexpr const char* kOff =
    "stands before liboomguard.so: requests do not arrive there, and the guard is off";

struct Known {
  const char* prefix;
  const char* what;
  bool only_before;  // behind the library it is no conflict
};
constexpr Known kKnown[] = {
    {"libscalene", kNotRefused, true}, {"libefence", kNotRefused, true},
    {"libduma", kNotRefused, true},    {"libasan", kOff, false},
    {"libtsan", kOff, false},          {"liblsan", kOff, false},
    {"libjemalloc", kOff, true},       {"libtcmalloc", kOff, true},
    {"libmimalloc", kOff, true},       {"libsnmalloc", kOff, true},
    {"libhoard", kOff, true},          {"libtbbmalloc_proxy", kOff, true},
};

std::string name_of(const std::string& path) { return std::filesystem::path(path).filename(); }

void add_preloaded(const std::string& value, std::vector<std::string>* libraries) {
  for (size_t at = value.find_first_not_of(": \t"); at != std::string::npos;) {
    const size_t end = std::min(value.find_first_of(": \t", at), value.size());
    libraries->push_back(value.substr(at, end - at));
    at = value.find_first_not_of(": \t", end);
  }
}

std::string preload_variable(int pid) {
  static constexpr std::string_view kName = "LD_PRELOAD=";
  std::ifstream file("/proc/" + std::to_string(pid) + "/environ", std::ios::binary);
  for (std::string entry; std::getline(file, entry, '\0');) {
    if (entry.starts_with(kName)) return entry.substr(kName.size());
  }
  return "";
}

void add_mapped(int pid, std::vector<std::string>* libraries) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/maps");
  for (std::string line; std::getline(file, line);) {
    const size_t path = line.find('/');
    if (path == std::string::npos) continue;
    const std::string library = line.substr(path);
    if (std::find(libraries->begin(), libraries->end(), library) == libraries->end()) {
      libraries->push_back(library);
    }
  }
}

bool is_mapped(const std::string& library, const std::vector<std::string>& mapped) {
  return std::any_of(mapped.begin(), mapped.end(), [&](const std::string& one) {
    return name_of(one).starts_with(name_of(library));
  });
}

}  // namespace

Preloaded judge_preloaded(const std::vector<std::string>& libraries) {
  Preloaded seen;
  const auto is_own = [](const std::string& path) { return name_of(path) == kLibrary; };
  const auto own = std::find_if(libraries.begin(), libraries.end(), is_own);
  seen.guarded = own != libraries.end();
  if (!seen.guarded) return seen;
  for (auto at = libraries.begin(); at != libraries.end(); ++at) {
    if (at > own && is_own(*at) && *at != *own) {
      seen.conflicts.push_back({*at, "a second copy of the library: it is off"});
    }
    for (const Known& known : kKnown) {
      if (!name_of(*at).starts_with(known.prefix) || (known.only_before && at > own)) continue;
      seen.conflicts.push_back({*at, known.what});
    }
  }
  return seen;
}

Preloaded look_at_preloaded(int pid) {
  std::vector<std::string> libraries;
  if (pid == 0) {
    const char* value = ::getenv("LD_PRELOAD");
    add_preloaded(value != nullptr ? value : "", &libraries);
    return judge_preloaded(libraries);
  }
  // The variable may have been changed since, and a library that is missing is only complained of.
  std::vector<std::string> mapped;
  add_mapped(pid, &mapped);
  add_preloaded(preload_variable(pid), &libraries);
  std::erase_if(libraries, [&](const std::string& library) { return !is_mapped(library, mapped); });
  for (const std::string& one : mapped) {
    if (!is_mapped(one, libraries)) libraries.push_back(one);
  }
  return judge_preloaded(libraries);
}

}  // namespace oomguard::tools
