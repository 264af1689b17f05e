#include "collector/record/mask.h"

#include <cstring>

namespace oomguard::record {
namespace {

constexpr const char* kSecretNames[] = {"token",      "password", "passwd", "passphrase", "secret",
                                        "credential", "apikey",   "key",    "auth"};
// Beginnings of access tokens of well-known services; a word is one if at least 16 more follow.
constexpr const char* kTokenStems[] = {"hf_", "ghp_",  "gho_",  "ghs_", "github_pat_", "glpat-",
                                       "sk-", "xoxb-", "xoxp-", "AKIA", "ASIA",        "eyJ"};
constexpr size_t kMinTokenTail = 16;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool is_name_char(char c) {
  return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || c == '_' || c == '-' ||
         c == '.';
}

bool is_space(char c) { return static_cast<unsigned char>(c) <= ' '; }

struct Text {
  const char* data;
  size_t size;
};

size_t name_at(Text text, size_t at, const char* name) {
  size_t i = 0;
  for (; name[i] != '\0'; ++i) {
    if (at + i >= text.size || lower(text.data[at + i]) != name[i]) return 0;
  }
  return i;
}

size_t secret_name_at(Text text, size_t at) {
  for (const char* name : kSecretNames) {
    if (const size_t length = name_at(text, at, name)) return length;
  }
  return 0;
}

// "--token": an option whose value is the next argument.
bool announces_secret(Text argument) {
  if (argument.size < 2 || argument.data[0] != '-') return false;
  if (memchr(argument.data, '=', argument.size) != nullptr) return false;
  for (size_t i = 1; i < argument.size; ++i) {
    if (is_space(argument.data[i])) return false;
    if (secret_name_at(argument, i) != 0) return true;
  }
  return false;
}

class Output {
 public:
  Output(char* out, size_t capacity) : out_(out), capacity_(capacity) {}
  void put(char c) {
    if (length_ + 1 < capacity_) out_[length_++] = c;
  }
  // Control characters could move the cursor of the terminal that shows the line.
  void put_shown(char c) { put(is_space(c) || c == 0x7f ? ' ' : c); }
  void put_mask() {
    for (int i = 0; i < 3; ++i) put('*');
  }
  size_t finish() {
    if (capacity_ > 0) out_[length_] = '\0';
    return length_;
  }

 private:
  char* out_;
  size_t capacity_;
  size_t length_ = 0;
};

// Where the value of the assignment ends whose value starts at `at`.
size_t value_end(Text text, size_t at, bool whole_argument) {
  if (whole_argument) return text.size;
  while (at < text.size && !is_space(text.data[at]) &&
         strchr("'\"&;,)", text.data[at]) == nullptr) {
    ++at;
  }
  return at;
}

// A secret's name begins at `at`: where its value begins ("name = 'value"), or 0 where none does.
size_t value_start(Text text, size_t at, size_t name_length) {
  size_t i = at + name_length;
  while (i < text.size && is_name_char(text.data[i])) ++i;
  while (i < text.size && (text.data[i] == '"' || text.data[i] == '\'' || text.data[i] == ' ')) ++i;
  if (i >= text.size || (text.data[i] != '=' && text.data[i] != ':')) return 0;
  ++i;
  while (i < text.size && (text.data[i] == '"' || text.data[i] == '\'' || text.data[i] == ' ')) ++i;
  return i < text.size ? i : 0;
}

// End of a well-known access token that begins at `at`; 0 where there is none.
size_t token_end(Text text, size_t at) {
  if (at > 0 && is_name_char(text.data[at - 1])) return 0;
  for (const char* stem : kTokenStems) {
    const size_t length = strlen(stem);
    if (text.size - at < length + kMinTokenTail) continue;
    if (memcmp(text.data + at, stem, length) != 0) continue;
    size_t end = at + length;
    while (end < text.size && is_name_char(text.data[end])) ++end;
    if (end - at - length >= kMinTokenTail) return end;
  }
  return 0;
}

// "://user:password@": the position after the colon, with the one of the at sign in `end`; else 0.
size_t address_password(Text text, size_t at, size_t* end) {
  if (at + 3 > text.size || memcmp(text.data + at, "://", 3) != 0) return 0;
  size_t start = 0;
  for (size_t i = at + 3; i < text.size; ++i) {
    const char c = text.data[i];
    if (c == '@') return start != 0 ? (*end = i, start) : 0;
    if (c == '/' || is_space(c)) return 0;
    if (c == ':' && start == 0) start = i + 1;
  }
  return 0;
}

void put_argument(Text argument, Output* out) {
  // "--token=two words" is one value to its end; in a longer text (python -c ...) a value is a
  // word.
  const auto* equals = static_cast<const char*>(memchr(argument.data, '=', argument.size));
  bool plain_name = equals != nullptr;
  for (const char* c = argument.data; plain_name && c < equals; ++c) plain_name = is_name_char(*c);
  for (size_t i = 0; i < argument.size;) {
    size_t start = 0;
    size_t end = 0;
    if (const size_t name = secret_name_at(argument, i)) {
      start = value_start(argument, i, name);
      if (start != 0) {
        const bool whole = plain_name && argument.data + i < equals;
        end = value_end(argument, start, whole);
      }
    } else if ((end = token_end(argument, i)) != 0) {
      start = i;
    } else {
      start = address_password(argument, i, &end);
    }
    if (end <= start) {
      out->put_shown(argument.data[i++]);
      continue;
    }
    for (; i < start; ++i) out->put_shown(argument.data[i]);
    out->put_mask();
    i = end;
  }
}

}  // namespace

size_t mask_command(const char* arguments, size_t size, char* out, size_t capacity) {
  Output output(out, capacity);
  bool mask_next = false;
  for (size_t at = 0; at < size;) {
    const auto* nul = static_cast<const char*>(memchr(arguments + at, '\0', size - at));
    const size_t end = nul != nullptr ? static_cast<size_t>(nul - arguments) : size;
    const Text argument{arguments + at, end - at};
    if (at > 0) output.put(' ');
    if (mask_next && (argument.size == 0 || argument.data[0] != '-')) {
      output.put_mask();
    } else {
      put_argument(argument, &output);
    }
    mask_next = announces_secret(argument);
    at = end + 1;
  }
  return output.finish();
}

}  // namespace oomguard::record
