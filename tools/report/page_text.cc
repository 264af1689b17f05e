#include "tools/report/page_text.h"

#include <algorithm>

namespace oomguard::tools {
namespace {

bool goes_on(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

const char* sequence(Style style) {
  switch (style) {
    case Style::kStrong:
      return "\x1b[1m";
    case Style::kOwn:
      return "\x1b[1;34m";
    case Style::kDim:
      return "\x1b[2m";
    case Style::kPlain:
      break;
  }
  return "";
}

// Where the text of a line begins behind its label: "At:    cell" at 7.
size_t hanging_indent(const std::string& line) {
  const size_t word = line.find_first_not_of(' ');
  if (word == std::string::npos) return 0;
  const size_t end = line.find(' ', word);
  if (word == 0 && end != std::string::npos && line[end - 1] == ':' && end < 9) {
    const size_t text = line.find_first_not_of(' ', end);
    if (text != std::string::npos) return text;
  }
  return word + 2;
}

}  // namespace

void PageText::put(const std::string& line, Style style) {
  if (colours_ && style != Style::kPlain) {
    text_ += sequence(style) + line + "\x1b[0m\n";
  } else {
    text_ += line + "\n";
  }
}

void PageText::line(const std::string& raw, size_t indent, Style style) {
  const std::string text = shown(raw);
  const std::string margin(indent, ' ');
  std::string current;
  size_t words = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t word = text.find_first_not_of(' ', at);
    if (word == std::string::npos) break;
    const size_t end = std::min(text.find(' ', word), text.size());
    const std::string gap = text.substr(at, word - at);
    const std::string piece = text.substr(word, end - word);
    // Behind a label alone a long path stays where it is: it fits nowhere.
    const bool fits_nowhere = words == 1 && margin.size() + columns(piece) > kColumns;
    if (words > 0 && !fits_nowhere && columns(current) + gap.size() + columns(piece) > kColumns) {
      put(current, style);
      current = margin + piece;
    } else {
      current += gap + piece;
    }
    ++words;
    at = end;
  }
  put(current, style);
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

void PageText::lines(const std::string& text) {
  for (const std::string& one : split_lines(text)) line(one, hanging_indent(one));
}

std::string shown(const std::string& text) {
  std::string out = text;
  for (size_t i = 0; i < out.size(); ++i) {
    const auto c = static_cast<unsigned char>(out[i]);
    if (c < ' ' || c == 0x7f) out[i] = '?';
    // U+0080 to U+009F are control characters, too.
    if (c == 0xc2 && i + 1 < out.size() && static_cast<unsigned char>(out[i + 1]) < 0xa0) {
      out.replace(i, 2, "?");
    }
  }
  return out;
}

size_t columns(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !goes_on(c); }));
}

std::string shortened(const std::string& text, size_t most, bool keep_start) {
  if (columns(text) <= most) return text;
  size_t left = most > 3 ? most - 3 : 0;
  if (keep_start) {
    size_t end = 0;
    while (end < text.size() && left > 0) {
      ++end;
      while (end < text.size() && goes_on(text[end])) ++end;
      --left;
    }
    return text.substr(0, end) + "...";
  }
  size_t start = text.size();
  while (start > 0 && left > 0) {
    --start;
    while (start > 0 && goes_on(text[start])) --start;
    --left;
  }
  return "..." + text.substr(start);
}

}  // namespace oomguard::tools
