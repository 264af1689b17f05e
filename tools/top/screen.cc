#include "tools/top/screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace oomguard::tools {
namespace {

volatile sig_atomic_t g_ends = 0;

void note_end(int) { g_ends = 1; }

void write_all(const std::string& text) {
  size_t at = 0;
  while (at < text.size()) {
    const ssize_t done = ::write(STDOUT_FILENO, text.data() + at, text.size() - at);
    if (done <= 0 && errno != EINTR) return;
    if (done > 0) at += static_cast<size_t>(done);
  }
}

winsize size_now() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) size = {};
  return size;
}

}  // namespace

Screen::Screen() {
  struct sigaction action{};
  action.sa_handler = note_end;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
  takes_keys_ = ::tcgetattr(STDIN_FILENO, &before_) == 0;
  if (takes_keys_) {
    termios keys = before_;
    keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    takes_keys_ = ::tcsetattr(STDIN_FILENO, TCSANOW, &keys) == 0;
  }
  write_all("\x1b[?1049h\x1b[?25l");  // a screen of its own, no cursor
}

Screen::~Screen() {
  write_all("\x1b[?25h\x1b[?1049l");
  if (takes_keys_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
}

size_t Screen::columns() const {
  const size_t columns = size_now().ws_col;
  return columns != 0 ? columns : 80;
}

size_t Screen::rows() const {
  const size_t rows = size_now().ws_row;
  return rows != 0 ? rows : 24;
}

void Screen::draw(const std::string& text) {
  std::string lines;
  for (const char c : text) lines += c == '\n' ? std::string("\x1b[K\r\n") : std::string(1, c);
  write_all("\x1b[H" + lines + "\x1b[J");
}

bool Screen::wait(double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(seconds));
  while (g_ends == 0) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    if (left <= 0) return true;
    pollfd keys{takes_keys_ ? STDIN_FILENO : -1, POLLIN, 0};
    if (::poll(&keys, 1, static_cast<int>(std::min<long long>(left, 60'000))) <= 0) continue;
    char key = 0;
    if (::read(STDIN_FILENO, &key, 1) <= 0) return false;  // the terminal is gone
    if (key == 'q' || key == 'Q') return false;
  }
  return false;
}

}  // namespace oomguard::tools
