// Bytes and shares as people write and read them (declared in options.h).
#include <cstring>

#include "collector/options/options.h"

namespace oomguard::options {
namespace {

struct Decimal {
  uint64_t whole = 0;
  uint64_t fraction = 0;        // digits after the point
  uint64_t fraction_scale = 1;  // 10 to the number of those digits
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Reads "12" or "12.5" and returns what follows it, or null. At most nine digits after the point.
const char* read_decimal(const char* text, Decimal* out) {
  if (!is_digit(*text)) return nullptr;
  for (; is_digit(*text); ++text) {
    if (__builtin_mul_overflow(out->whole, 10u, &out->whole) ||
        __builtin_add_overflow(out->whole, static_cast<uint64_t>(*text - '0'), &out->whole)) {
      return nullptr;
    }
  }
  if (*text != '.') return text;
  ++text;
  if (!is_digit(*text)) return nullptr;
  for (; is_digit(*text); ++text) {
    if (out->fraction_scale >= 1'000'000'000) return nullptr;
    out->fraction = out->fraction * 10 + static_cast<uint64_t>(*text - '0');
    out->fraction_scale *= 10;
  }
  return text;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// The factor of a unit ("", B, K, KB, KiB, ... in either case); 0 where there is no such unit.
uint64_t unit_factor(const char* unit) {
  if (unit[0] == '\0') return 1;
  if (lower(unit[0]) == 'b') return unit[1] == '\0' ? 1 : 0;
  static constexpr char kPrefixes[] = "kmgtp";
  const char* found = strchr(kPrefixes, lower(unit[0]));
  if (found == nullptr) return 0;
  const auto power = static_cast<unsigned>(found - kPrefixes) + 1;
  const bool bare = unit[1] == '\0';
  const bool binary = lower(unit[1]) == 'i' && lower(unit[2]) == 'b' && unit[3] == '\0';
  const bool decimal = !bare && lower(unit[1]) == 'b' && unit[2] == '\0';
  if (!bare && !binary && !decimal) return 0;
  uint64_t factor = 1;
  for (unsigned i = 0; i < power; ++i) factor *= decimal ? 1000 : 1024;
  return factor;
}

size_t append_number(uint64_t value, char* out) {
  char digits[20];
  size_t count = 0;
  do {
    digits[count++] = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  for (size_t i = 0; i < count; ++i) out[i] = digits[count - 1 - i];
  return count;
}

struct Shown {
  uint64_t tenths = 0;  // of the unit
  unsigned power = 0;   // of 1024
};

// The largest unit in which the rounded value is at least one.
Shown choose_unit(uint64_t bytes) {
  Shown shown{bytes > UINT64_MAX / 10 ? UINT64_MAX : bytes * 10, 0};
  unsigned __int128 factor = 1;
  while (shown.tenths >= 10240 && shown.power < 5) {
    factor *= 1024;
    ++shown.power;
    shown.tenths =
        static_cast<uint64_t>((static_cast<unsigned __int128>(bytes) * 10 + factor / 2) / factor);
  }
  // 1023.96 MiB is shown whole, as 1024: that is 1.0 GiB.
  if ((shown.power == 1 || shown.power == 2) && shown.tenths >= 10235) {
    shown.tenths = 10;
    ++shown.power;
  }
  return shown;
}

}  // namespace

bool parse_bytes(const char* text, int64_t* out) {
  if (text == nullptr) return false;
  Decimal number;
  const char* unit = read_decimal(text, &number);
  if (unit == nullptr) return false;
  while (*unit == ' ') ++unit;
  const uint64_t factor = unit_factor(unit);
  if (factor == 0 || (factor == 1 && number.fraction_scale > 1)) return false;
  using Wide = unsigned __int128;
  const Wide bytes = static_cast<Wide>(number.whole) * factor +
                     static_cast<Wide>(number.fraction) * factor / number.fraction_scale;
  if (bytes > static_cast<Wide>(INT64_MAX)) return false;
  *out = static_cast<int64_t>(bytes);
  return true;
}

bool parse_share(const char* text, uint32_t* permille) {
  if (text == nullptr) return false;
  Decimal number;
  const char* rest = read_decimal(text, &number);
  if (rest == nullptr || strcmp(rest, "%") != 0 || number.fraction_scale > 10) return false;
  if (number.whole > 100) return false;
  const uint64_t value = number.whole * 10 + number.fraction;
  if (value < 1 || value > 1000) return false;
  *permille = static_cast<uint32_t>(value);
  return true;
}

size_t format_bytes(int64_t bytes, char* out, size_t capacity) {
  char text[40];
  size_t length = 0;
  uint64_t magnitude = static_cast<uint64_t>(bytes);
  if (bytes < 0) {
    text[length++] = '-';
    magnitude = 0 - magnitude;
  }
  static constexpr const char* kUnits[] = {" bytes", " KiB", " MiB", " GiB", " TiB", " PiB"};
  const Shown shown = choose_unit(magnitude);
  const bool with_point =
      shown.power >= 3 || (shown.power >= 1 && shown.tenths < 100 && shown.tenths % 10 != 0);
  if (with_point) {
    length += append_number(shown.tenths / 10, text + length);
    text[length++] = '.';
    text[length++] = static_cast<char>('0' + shown.tenths % 10);
  } else {
    length += append_number((shown.tenths + 5) / 10, text + length);
  }
  const char* unit = magnitude == 1 ? " byte" : kUnits[shown.power];
  const size_t unit_length = strlen(unit);
  memcpy(text + length, unit, unit_length);
  length += unit_length;
  if (capacity == 0) return 0;
  const size_t written = length < capacity ? length : capacity - 1;
  memcpy(out, text, written);
  out[written] = '\0';
  return written;
}

}  // namespace oomguard::options
