#include "collector/probe/kernel_text.h"

#include <errno.h>
#include <sys/auxv.h>

namespace oomguard::probe {
namespace {

// One read covers memory.stat of v1, the wanted part of v2's and of meminfo, so that the values are
// of one moment.
constexpr size_t kChunk = 1280;
constexpr size_t kMaxText = 256 * 1024;

bool all_found(const KeyedValue* wanted, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (!wanted[i].found) return false;
  }
  return true;
}

// Hands the lines of text[start, size) that are complete to match_line.
void match_lines(const char* text, size_t start, size_t size, KeyedValue* wanted, size_t count) {
  for (size_t i = start; i < size; ++i) {
    if (text[i] != '\n') continue;
    match_line(text + start, text + i, wanted, count);
    start = i + 1;
  }
}

// Index of the last (or first) newline of text[0, size); `size` where there is none.
size_t last_newline(const char* text, size_t size) {
  for (size_t i = size; i > 0; --i) {
    if (text[i - 1] == '\n') return i - 1;
  }
  return size;
}
size_t first_newline(const char* text, size_t size) {
  size_t i = 0;
  while (i < size && text[i] != '\n') ++i;
  return i;
}

// `read_at(buffer, size, offset)` answers like pread. The kernel may write the text anew for each
// read, with numbers of other widths. Therefore every further chunk starts at the newline that
// ended the one before, and -EAGAIN tells that this newline has moved.
template <typename ReadAt>
int scan_keyed(ReadAt read_at, KeyedValue* wanted, size_t count) {
  char buffer[kChunk];
  size_t offset = 0;
  bool skipping = false;  // inside a line longer than a chunk
  while (offset < kMaxText) {
    const long got = read_at(buffer, sizeof(buffer), offset);
    if (got < 0) return static_cast<int>(got);
    const size_t size = static_cast<size_t>(got);
    if (size == 0) return 0;
    size_t start = 0;
    if (offset > 0) {
      if (!skipping && buffer[0] != '\n') return -EAGAIN;
      start = first_newline(buffer, size) + 1;
    }
    match_lines(buffer, start, size, wanted, count);
    if (all_found(wanted, count)) return 0;
    const size_t newline = last_newline(buffer, size);
    if (newline != size && newline > 0) {
      offset += newline;
      skipping = false;
    } else if (size < sizeof(buffer)) {
      return 0;  // the last line has no newline: cut off, not believed
    } else {
      offset += size;
      skipping = true;
    }
  }
  return 0;
}

int retry_torn(int first, auto again) { return first == -EAGAIN ? again() : first; }

}  // namespace

bool parse_number(const char** cursor, const char* end, Bytes* out) {
  const char* at = *cursor;
  if (at == end || *at < '0' || *at > '9') return false;
  Bytes value = 0;
  for (; at != end && *at >= '0' && *at <= '9'; ++at) {
    if (__builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, *at - '0', &value)) {
      value = kUnlimited;
    }
  }
  *cursor = at;
  *out = value;
  return true;
}

bool parse_single(const char* text, size_t size, Bytes* out) {
  const char* const end = text + size;
  if (size >= 3 && text[0] == 'm' && text[1] == 'a' && text[2] == 'x') {
    *out = kUnlimited;
    text += 3;
  } else {
    Bytes value;
    if (!parse_number(&text, end, &value)) return false;
    *out = value >= (Bytes{1} << 62) ? kUnlimited : value;
  }
  return text == end || (*text == '\n' && text + 1 == end);
}

int read_single(KernelFile& file, PathRef path, Bytes* out) {
  char buffer[32];
  const long got = file.pread(path, buffer, sizeof(buffer));
  if (got < 0) return static_cast<int>(got);
  return parse_single(buffer, static_cast<size_t>(got), out) ? 0 : -EINVAL;
}

int read_single_once(PathRef path, Bytes* out) {
  const OneShot file(path);
  if (!file) return file.fd();
  char buffer[32];
  const long got = sys::pread(file.fd(), buffer, sizeof(buffer), 0);
  if (got < 0) return static_cast<int>(got);
  return parse_single(buffer, static_cast<size_t>(got), out) ? 0 : -EINVAL;
}

void match_line(const char* line, const char* end, KeyedValue* wanted, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const char* key = wanted[i].key;
    const char* at = line;
    while (at != end && *key != '\0' && *at == *key) ++at, ++key;
    if (*key != '\0' || at == end || (*at != ' ' && *at != '\t')) continue;
    while (at != end && (*at == ' ' || *at == '\t')) ++at;
    Bytes value;
    if (!parse_number(&at, end, &value)) return;
    if (end - at == 3 && at[0] == ' ' && at[1] == 'k' && at[2] == 'B') {
      if (__builtin_mul_overflow(value, 1024, &value)) value = kUnlimited;
    } else if (at != end) {
      return;
    }
    wanted[i].value = value;
    wanted[i].found = true;
    return;
  }
}

int read_keyed(KernelFile& file, PathRef path, KeyedValue* wanted, size_t count) {
  const auto scan = [&] {
    return scan_keyed(
        [&](void* buffer, size_t size, size_t offset) {
          return file.pread(path, buffer, size, static_cast<int64_t>(offset));
        },
        wanted, count);
  };
  return retry_torn(scan(), scan);
}

int read_keyed_once(PathRef path, KeyedValue* wanted, size_t count) {
  const OneShot file(path);
  if (!file) return file.fd();
  const auto scan = [&] {
    return scan_keyed(
        [&](void* buffer, size_t size, size_t offset) {
          return sys::pread(file.fd(), buffer, size, static_cast<int64_t>(offset));
        },
        wanted, count);
  };
  return retry_torn(scan(), scan);
}

Bytes page_size() {
#if defined(__x86_64__)
  return 4096;
#else
  return static_cast<Bytes>(getauxval(AT_PAGESZ));  // reads a variable of libc's, no errno
#endif
}

Bytes pages_to_bytes(Bytes pages) {
  Bytes bytes;
  return __builtin_mul_overflow(pages, page_size(), &bytes) ? kUnlimited : bytes;
}

int CharStream::refill() {
  const long got = sys::read(fd_, buffer_, sizeof(buffer_));
  if (got <= 0) {
    fd_ = -1;  // what a later read gives would begin inside a line
    return -1;
  }
  size_ = static_cast<uint16_t>(got);
  at_ = 1;
  return static_cast<unsigned char>(buffer_[0]);
}

}  // namespace oomguard::probe
