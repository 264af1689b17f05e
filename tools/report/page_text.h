// Text for a terminal: lines of at most 100 columns, control characters gone, colours if wanted.
//
// Thread-safety: none needed, the command has one thread.
#pragma once

#include <string>
#include <vector>

namespace oomguard::tools {

enum class Style { kPlain, kStrong, kOwn, kDim };

class PageText {
 public:
  static constexpr size_t kColumns = 100;

  explicit PageText(bool colours) : colours_(colours) {}

  // One line, broken between words; what follows the first is indented by `indent`. A word that is
  // longer than a line stands alone on one, or behind the first word.
  void line(const std::string& text, size_t indent = 2, Style style = Style::kPlain);
  // The same for whole lines of text; each is indented like its own beginning ("At:    ").
  void lines(const std::string& text);
  void blank() { text_ += '\n'; }

  const std::string& text() const { return text_; }

 private:
  void put(const std::string& line, Style style);

  bool colours_;
  std::string text_;
};

// Without their newlines.
std::vector<std::string> split_lines(const std::string& text);
// Without control characters, which a terminal would obey.
std::string shown(const std::string& text);
// The columns that a terminal needs for it, as far as that can be told without its tables:
// characters of UTF-8.
size_t columns(const std::string& text);
// Its end, or with `keep_start` its beginning, with "..." for the rest.
std::string shortened(const std::string& text, size_t most, bool keep_start);

}  // namespace oomguard::tools
