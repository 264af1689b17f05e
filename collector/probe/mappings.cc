#include "collector/probe/mappings.h"

namespace oomguard::probe {
namespace {

// Reads digits into `value` and returns what follows them.
template <typename Number>
int read_number(CharStream& in, int c, unsigned base, Number* value) {
  for (;; c = in.next()) {
    unsigned digit;
    if (c >= '0' && c <= '9') {
      digit = static_cast<unsigned>(c - '0');
    } else if (base == 16 && c >= 'a' && c <= 'f') {
      digit = static_cast<unsigned>(c - 'a') + 10;
    } else {
      return c;
    }
    *value = static_cast<Number>(*value * base + digit);
  }
}

bool in_line(int c) { return c != '\n' && c != -1; }

int skip_blanks(CharStream& in, int c) {
  while (c == ' ') c = in.next();
  return c;
}

int read_permissions(CharStream& in, int c, Mapping* out) {
  for (; in_line(c) && c != ' '; c = in.next()) {
    if (c == 'r') out->readable = true;
    if (c == 'w') out->writable = true;
    if (c == 'x') out->executable = true;
    if (c == 's') out->shared = true;
  }
  return c;
}

void add_to_name(char c, size_t* length, FileName* file) {
  if (c == '/') {
    *length = 0;
  } else if (*length + 1 < sizeof file->text) {
    file->text[(*length)++] = c;
  }
  file->text[*length] = '\0';
}

// `add(c)` gets each character of the path.
template <typename Add>
bool read_line(CharStream& in, Mapping* out, Add add) {
  *out = Mapping{};
  int c = in.next();
  if (c == -1) return false;
  c = read_number(in, c, 16, &out->start);
  if (c == '-') c = read_number(in, in.next(), 16, &out->end);
  c = read_permissions(in, skip_blanks(in, c), out);
  c = read_number(in, skip_blanks(in, c), 16, &out->offset);
  c = read_number(in, skip_blanks(in, c), 16, &out->major);
  if (c == ':') c = read_number(in, in.next(), 16, &out->minor);
  c = skip_blanks(in, read_number(in, skip_blanks(in, c), 10, &out->inode));
  for (size_t length = 0; in_line(c); c = in.next()) {
    if (length + 1 < sizeof out->name) out->name[length++] = static_cast<char>(c);
    add(static_cast<char>(c));
  }
  return true;
}

}  // namespace

bool read_mapping(CharStream& in, Mapping* out, FileName* file) {
  if (file != nullptr) *file = FileName{};
  size_t length = 0;
  return read_line(in, out, [&](char c) {
    if (file != nullptr) add_to_name(c, &length, file);
  });
}

bool read_mapping(CharStream& in, Mapping* out, FilePath* path) {
  size_t length = 0;
  const bool read = read_line(in, out, [&](char c) {
    if (length < sizeof path->text) path->text[length++] = c;
  });
  path->text[length < sizeof path->text ? length : 0] = '\0';
  return read;
}

}  // namespace oomguard::probe
