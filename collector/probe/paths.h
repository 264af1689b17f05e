// Paths in fixed buffers, and the ".." of control group namespaces.
//
// Thread-safety: pure functions on the caller's buffers. Callable from a hook and from the raw
// thread: yes.
#pragma once

#include <cstddef>

namespace oomguard::probe {

size_t length_of(const char* text);

// Appends to a zero-terminated text. False (and unchanged) where it does not fit.
bool append_text(char* out, size_t capacity, const char* text);
bool copy_text(char* out, size_t capacity, const char* text);

// True where `text` equals the zero-terminated `word`.
bool same_text(const char* text, const char* word);

// What is left of `path` behind `prefix` ("" or "/rest"), null where it is not below it.
const char* below(const char* path, const char* prefix);

// Is one of the components ".."?
bool has_parent_component(const char* path);

// Skips "/.." at the start of `*path` and returns how many there were.
int skip_parents(const char** path);

// "directory/name" is there.
bool exists(const char* directory, const char* name);

}  // namespace oomguard::probe
