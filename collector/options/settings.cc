#include "collector/options/settings.h"

#include <errno.h>
#include <string.h>

#include <initializer_list>

#include "collector/probe/syscall.h"

namespace oomguard::options {
namespace {

constexpr uint32_t kEveryone = 02;  // of a mode: all may write

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

// Without blanks on either side; ends the text.
char* trimmed(char* start, char* end) {
  while (start < end && is_blank(*start)) ++start;
  while (end > start && is_blank(end[-1])) --end;
  *end = '\0';
  return start;
}

// Why a file is not to be trusted or read; null where it is.
const char* wrong_with(const struct stat& info, Source source) {
  if (!S_ISREG(info.st_mode)) return "it is no regular file";
  if ((info.st_mode & kEveryone) != 0) return "everybody may write to it";
  const auto user = static_cast<uid_t>(sys::call(SYS_geteuid));
  const bool own = info.st_uid == 0 || (source == Source::kUserFile && info.st_uid == user);
  if (!own) return "it belongs to another user";
  if (info.st_size > static_cast<off_t>(kMostFileBytes)) return "it is larger than 8 KiB";
  return nullptr;
}

class Reader {
 public:
  Reader(Values* out, Tell tell, void* context) : out_(out), tell_(tell), context_(context) {}

  void read_file(const char* path, Source source) {
    const int fd = sys::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    // A home that cannot be entered has no settings: its owner is another user, or a ticket ran out.
    if (fd == -ENOENT || fd == -ENOTDIR || (fd == -EACCES && source == Source::kUserFile)) return;
    char text[kMostFileBytes + 1];
    long length = 0;
    struct stat info;
    const char* wrong = fd < 0 || sys::fstat(fd, &info) != 0 ? "it cannot be opened" : nullptr;
    if (wrong == nullptr) wrong = wrong_with(info, source);
    if (wrong == nullptr && !read_all(fd, text, &length)) wrong = "it cannot be read";
    if (fd >= 0) sys::close(fd);
    if (wrong != nullptr) {
      say({.outcome = Outcome::kNotHeeded, .source = source, .name = path, .text = wrong});
      return;
    }
    uint32_t number = 0;
    for (char* line = text; line < text + length;) {
      auto* end = static_cast<char*>(memchr(line, '\n', static_cast<size_t>(text + length - line)));
      if (end == nullptr) end = text + length;
      read_line(path, source, ++number, line, end);
      line = end + 1;
    }
  }

  void read_environment(const char* const* block) {
    if (switched_off(block)) locked_ &= ~(1U << static_cast<size_t>(Id::kEnabled));
    for (const Option& option : kTable) {
      const char* value = find_variable(block, option.variable);
      if (value == nullptr) continue;
      take({.outcome = Outcome::kTaken,
            .source = Source::kEnvironment,
            .id = option.id,
            .name = option.variable,
            .text = value});
    }
    int64_t bytes = 0;
    const char* limit = find_variable(block, "MEM_LIMIT");
    if (from_[static_cast<size_t>(Id::kBudget)] != nullptr || limit == nullptr) return;
    if (!parse_bytes(limit, &bytes) || bytes < kLeastBudget) return;
    take({.outcome = Outcome::kTaken,
          .source = Source::kEnvironment,
          .id = Id::kBudget,
          .name = "MEM_LIMIT",
          .text = limit});
  }

 private:
  // False where it grew meanwhile, too.
  static bool read_all(int fd, char* text, long* length) {
    for (*length = 0;;) {
      const size_t left = kMostFileBytes + 1 - static_cast<size_t>(*length);
      const long got = left > 0 ? sys::read(fd, text + *length, left) : -E2BIG;
      if (got == -EINTR) continue;
      if (got <= 0) return got == 0;
      *length += got;
    }
  }

  void read_line(const char* path, Source source, uint32_t number, char* start, char* end) {
    Found found{.outcome = Outcome::kNoLine, .source = source, .line = number, .name = path};
    const bool is_text = memchr(start, '\0', static_cast<size_t>(end - start)) == nullptr;
    char* line = trimmed(start, end);
    found.text = line;
    if (*line == '#' || (*line == '\0' && is_text)) return;
    char* equals = strchr(line, '=');
    if (!is_text || equals == nullptr) return say(found);
    char* key = trimmed(line, equals);
    if (strncmp(key, "lock", 4) == 0 && is_blank(key[4])) {
      found.locks = true;
      key = trimmed(key + 5, key + strlen(key));
    }
    found.text = key;
    found.outcome = Outcome::kNoOption;
    for (const Option& option : kTable) {
      if (strcmp(key, key_of(option)) != 0) continue;
      found.id = option.id;
      found.text = trimmed(equals + 1, equals + 1 + strlen(equals + 1));
      found.outcome = Outcome::kMayNotLock;
    }
    const bool may_lock = source == Source::kSystemFile;
    if (found.outcome == Outcome::kNoOption || (found.locks && !may_lock)) return say(found);
    take(found);
  }

  void take(Found found) {
    const auto index = static_cast<size_t>(found.id);
    found.instead = from_[index];
    if ((locked_ & (1U << index)) != 0) {
      found.outcome = Outcome::kLocked;
    } else if (!parse(found.id, found.text, out_)) {
      found.outcome = Outcome::kNotAccepted;
    } else {
      found.outcome = Outcome::kTaken;
      from_[index] = found.name;
      if (found.locks) locked_ |= 1U << index;
    }
    say(found);
  }

  void say(const Found& found) {
    if (tell_ != nullptr) tell_(found, context_);
  }

  static_assert(static_cast<size_t>(Id::kCount) <= 32);
  Values* out_;
  Tell tell_;
  void* context_;
  uint32_t locked_ = 0;
  const char* from_[static_cast<size_t>(Id::kCount)] = {};  // null: the default
};

class Line {
 public:
  Line(char* out, size_t capacity) : out_(out), capacity_(capacity) {}

  // What a file or a variable says stays on its line.
  Line& put(const char* text) {
    for (; *text != '\0' && used_ + 1 < capacity_; ++text) {
      const auto c = static_cast<unsigned char>(*text);
      out_[used_++] = c < ' ' || c == 127 ? '?' : *text;
    }
    return *this;
  }
  Line& put(uint32_t number) {
    char digits[12];
    size_t at = sizeof digits - 1;
    digits[at] = '\0';
    do {
      digits[--at] = static_cast<char>('0' + number % 10);
    } while ((number /= 10) != 0);
    return put(digits + at);
  }
  size_t end() {
    if (capacity_ > 0) out_[used_++] = '\n';
    return used_;
  }

 private:
  char* out_;
  size_t capacity_;
  size_t used_ = 0;
};

}  // namespace

const char* key_of(const Option& option) {
  return option.flag[0] != '\0' ? option.flag + 2 : "enabled";
}

Files policy_files(const char* const* environ_block) {
  Files files;
  const char* folder = find_variable(environ_block, "XDG_CONFIG_HOME");
  const char* below = "/oomguard.conf";
  if (folder == nullptr || folder[0] != '/') {
    folder = find_variable(environ_block, "HOME");
    below = "/.config/oomguard.conf";
  }
  if (folder == nullptr || folder[0] != '/') return files;
  const size_t length = strlen(folder);
  if (length + strlen(below) >= kMostPath) return files;
  memcpy(files.user, folder, length);
  strcpy(files.user + length, below);
  return files;
}

bool switched_off(const char* const* environ_block) {
  Values values;
  const Option& option = kTable[static_cast<size_t>(Id::kEnabled)];
  const char* value = find_variable(environ_block, option.variable);
  return value != nullptr && parse(Id::kEnabled, value, &values) && !values.enabled;
}

void read_settings(const char* const* environ_block, const Files& files, Values* out, Tell tell,
                   void* context) {
  Reader reader(out, tell, context);
  reader.read_file(files.system, Source::kSystemFile);
  if (files.user[0] != '\0') reader.read_file(files.user, Source::kUserFile);
  reader.read_environment(environ_block);
}

size_t describe(const Found& found, char* out, size_t capacity) {
  if (found.outcome == Outcome::kTaken) return 0;
  Line line(out, capacity);
  line.put("oomguard: ").put(found.name);
  if (found.line != 0) line.put(" line ").put(found.line).put(":");
  const Option* option =
      found.id != Id::kCount ? &kTable[static_cast<size_t>(found.id)] : nullptr;
  if (option != nullptr) {
    const bool in_file = found.source != Source::kEnvironment;
    line.put(in_file ? " " : "").put(in_file ? key_of(*option) : "").put("=").put(found.text);
  }
  switch (found.outcome) {
    case Outcome::kTaken:
      break;
    case Outcome::kNotAccepted:
      line.put(" is not accepted (").put(option->forms).put("); using ");
      if (found.instead == nullptr) line.put("the default, ").put(option->fallback);
      if (found.instead != nullptr) line.put("that of ").put(found.instead);
      break;
    case Outcome::kLocked:
      line.put(" does not count: the value is locked in ").put(found.instead);
      break;
    case Outcome::kNoOption:
      line.put(" no option is called ").put(found.text);
      break;
    case Outcome::kNoLine:
      line.put(" not of the form key = value");
      break;
    case Outcome::kMayNotLock:
      line.put(" cannot be locked here, and does not count");
      break;
    case Outcome::kNotHeeded:
      line.put(" does not count: ").put(found.text);
      break;
  }
  return line.end();
}

}  // namespace oomguard::options
