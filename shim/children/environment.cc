#include "shim/children/environment.h"

#include <cstring>

#include "shim/children/policy.h"

namespace oomguard::children {
namespace {

constexpr std::string_view kPreload = "LD_PRELOAD=";
constexpr std::string_view kRunProgram = "OOMGUARD_RUN_PROGRAM=";

// strlen of every variable would read the whole environment; most differ in the first bytes.
bool has_prefix(const char* text, std::string_view prefix) {
  return strncmp(text, prefix.data(), prefix.size()) == 0;
}

constexpr bool is_separator(char c) { return c == ':' || c == ' '; }  // as ld.so splits the list

// Cuts the next entry off `list`, separators before it included.
std::string_view next_entry(std::string_view* list) {
  while (!list->empty() && is_separator(list->front())) list->remove_prefix(1);
  size_t end = 0;
  while (end < list->size() && !is_separator((*list)[end])) ++end;
  const std::string_view entry = first(*list, end);
  list->remove_prefix(end);
  return entry;
}

bool preloads_library(std::string_view list, std::string_view library_path) {
  while (true) {
    const std::string_view entry = next_entry(&list);
    if (entry.empty()) return false;
    if (names_library(entry, library_path)) return true;
  }
}

// Writes "LD_PRELOAD=" and the entries that are not ours; at most as long as `variable`. Returns
// the length without the terminating NUL; kPreload.size() where nothing is left of the list.
size_t copy_other_entries(std::string_view variable, std::string_view library_path, char* out) {
  memcpy(out, kPreload.data(), kPreload.size());
  size_t at = kPreload.size();
  std::string_view list = variable;
  list.remove_prefix(kPreload.size());
  while (true) {
    const std::string_view entry = next_entry(&list);
    if (entry.empty()) break;
    if (names_library(entry, library_path)) continue;
    if (at > kPreload.size()) out[at++] = ':';
    memcpy(out + at, entry.data(), entry.size());
    at += entry.size();
  }
  out[at] = '\0';
  return at;
}

}  // namespace

bool names_library(std::string_view entry, std::string_view library_path) noexcept {
  const std::string_view name = basename(entry);
  if (name == kLibraryName) return true;
  return !library_path.empty() && (entry == library_path || name == basename(library_path));
}

size_t scratch_bytes(const char* const* envp, std::string_view library_path) noexcept {
  if (envp == nullptr) return 0;
  bool preloaded = false;
  size_t text_bytes = 0;
  size_t count = 0;
  for (; envp[count] != nullptr; ++count) {
    if (!has_prefix(envp[count], kPreload)) continue;
    const std::string_view list(envp[count] + kPreload.size());
    preloaded |= preloads_library(list, library_path);
    text_bytes += kPreload.size() + list.size() + 1;
  }
  return preloaded ? (count + 1) * sizeof(char*) + text_bytes : 0;
}

char* const* without_library(char* const* envp, std::string_view library_path, void* scratch,
                             size_t bytes) noexcept {
  // Strings grow from the end of the scratch memory, the array from its start; where they would
  // meet, the environment is not the one that was measured.
  char** array = static_cast<char**>(scratch);
  char* const start = static_cast<char*>(scratch);
  size_t text_at = bytes;
  size_t kept = 0;
  for (size_t i = 0; envp[i] != nullptr; ++i) {
    char* variable = envp[i];
    if (has_prefix(variable, kRunProgram)) continue;
    if (has_prefix(variable, kPreload)) {
      const std::string_view text(variable);
      if (text.size() + 1 > text_at) return envp;
      text_at -= text.size() + 1;
      if (text_at < (kept + 2) * sizeof(char*)) return envp;
      variable = start + text_at;
      if (copy_other_entries(text, library_path, variable) == kPreload.size()) continue;
    }
    if ((kept + 2) * sizeof(char*) > text_at) return envp;
    array[kept++] = variable;
  }
  array[kept] = nullptr;
  return array;
}

const char* find_variable(const char* const* envp, std::string_view name) noexcept {
  if (envp == nullptr) return nullptr;
  for (; *envp != nullptr; ++envp) {
    if (has_prefix(*envp, name) && (*envp)[name.size()] == '=') return *envp + name.size() + 1;
  }
  return nullptr;
}

}  // namespace oomguard::children
