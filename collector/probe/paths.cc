#include "collector/probe/paths.h"

#include "collector/probe/kernel_file.h"

namespace oomguard::probe {

size_t length_of(const char* text) {
  size_t length = 0;
  while (text[length] != '\0') ++length;
  return length;
}

bool append_text(char* out, size_t capacity, const char* text) {
  const size_t used = length_of(out);
  const size_t size = length_of(text);
  if (used + size >= capacity) return false;
  for (size_t i = 0; i <= size; ++i) out[used + i] = text[i];
  return true;
}

bool copy_text(char* out, size_t capacity, const char* text) {
  out[0] = '\0';
  return append_text(out, capacity, text);
}

bool same_text(const char* text, const char* word) {
  while (*word != '\0' && *text == *word) ++text, ++word;
  return *text == *word;
}

const char* below(const char* path, const char* prefix) {
  while (*prefix != '\0' && *path == *prefix) ++path, ++prefix;
  return *prefix == '\0' && (*path == '\0' || *path == '/') ? path : nullptr;
}

static bool starts_with_parent(const char* path) {
  return path[0] == '/' && path[1] == '.' && path[2] == '.' && (path[3] == '/' || path[3] == '\0');
}

bool has_parent_component(const char* path) {
  for (; *path != '\0'; ++path) {
    if (starts_with_parent(path)) return true;
  }
  return false;
}

int skip_parents(const char** path) {
  int count = 0;
  for (; starts_with_parent(*path); *path += 3) ++count;
  return count;
}

bool exists(const char* directory, const char* name) {
  char path[640];
  struct stat status;
  return join_path({directory, name}, path, sizeof(path)) &&
         sys::call(SYS_newfstatat, AT_FDCWD, sys::as_arg(path), sys::as_arg(&status), 0) == 0;
}

}  // namespace oomguard::probe
