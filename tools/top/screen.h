// A terminal that is drawn on again and again until 'q' is typed. While it lives, typed characters
// come at once and are not shown; what was set before comes back with its end, also after SIGINT
// and SIGTERM.
// Thread-safety: one for a process, one thread.
#pragma once

#include <termios.h>

#include <cstddef>
#include <string>

namespace oomguard::tools {

class Screen {
 public:
  Screen();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  size_t columns() const;
  size_t rows() const;
  // In place of what is on it. `text`: whole lines, no more and no longer than it has room for.
  void draw(const std::string& text);
  // False: 'q' was typed, or the process is to end.
  bool wait(double seconds);

 private:
  bool takes_keys_ = false;
  termios before_{};
};

}  // namespace oomguard::tools
