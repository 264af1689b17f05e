#include "shim/children/inspect.h"

#include <sys/stat.h>

#include <cstddef>
#include <cstring>

#include "collector/probe/descriptor_link.h"
#include "collector/probe/syscall.h"
#include "shim/children/elf_file.h"

namespace oomguard::children {
namespace {

constexpr size_t kPathBytes = 1024;
constexpr size_t kHeadBytes = 256;  // the kernel reads as much of a "#!" line (BINPRM_BUF_SIZE)
constexpr int kMaxScripts = 5;      // the kernel gives up after four interpreters in a row
constexpr const char* kDefaultPath = "/bin:/usr/bin";  // glibc's, where PATH is not set

class File {
 public:
  File(int directory_fd, const char* path) {
    // Opening a device or a FIFO may block or do something; only regular files can be executed.
    struct stat status;
    const long found =
        sys::call(SYS_newfstatat, directory_fd, sys::as_arg(path), sys::as_arg(&status), 0);
    if (found != 0 || !S_ISREG(status.st_mode)) return;
    mode_ = status.st_mode;
    fd_ = static_cast<int>(
        sys::call(SYS_openat, directory_fd, sys::as_arg(path), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  }
  ~File() {
    if (fd_ >= 0) sys::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  bool privileged() const { return (mode_ & (S_ISUID | S_ISGID)) != 0; }

 private:
  int fd_ = -1;
  mode_t mode_ = 0;
};

// By the name that a symbolic link leads to ("cc-python" -> /usr/bin/python3.11).
Program classify_linked_name(int fd) {
  char link[32];
  char path[kPathBytes];
  probe::descriptor_link(fd, link);
  const long length = sys::call(SYS_readlinkat, AT_FDCWD, sys::as_arg(link), sys::as_arg(path),
                                static_cast<long>(sizeof(path)));
  if (length <= 0) return Program::kOther;
  return classify_name(std::string_view(path, static_cast<size_t>(length)));
}

Program classify_file_name(std::string_view path, int fd) {
  const Program by_name = classify_name(path);
  return by_name != Program::kOther ? by_name : classify_linked_name(fd);
}

Program classify_elf(const ElfFacts& facts, Program by_name) {
  if (!facts.native || (facts.interpreted && !facts.glibc)) return Program::kForeign;
  // A static launcher (micromamba, tini) ignores the variable but hands it on to Python.
  if (by_name != Program::kOther) return by_name;
  if (!facts.interpreted) return Program::kStatic;
  return facts.python ? Program::kPython : Program::kOther;
}

// Copies "directory/name" into `out`; false where it does not fit.
bool join(std::string_view directory, std::string_view name, char (&out)[kPathBytes]) {
  const bool here = directory.empty();  // an empty element of PATH is the current directory
  const size_t length = (here ? 0 : directory.size() + 1) + name.size();
  if (length >= sizeof(out)) return false;
  size_t at = 0;
  if (!here) {
    memcpy(out, directory.data(), directory.size());
    at = directory.size();
    out[at++] = '/';
  }
  memcpy(out + at, name.data(), name.size());
  out[at + name.size()] = '\0';
  return true;
}

bool is_executable(const char* path) {
  struct stat status;
  return sys::call(SYS_newfstatat, AT_FDCWD, sys::as_arg(path), sys::as_arg(&status), 0) == 0 &&
         S_ISREG(status.st_mode) &&
         sys::call(SYS_faccessat, AT_FDCWD, sys::as_arg(path), 1 /* X_OK */) == 0;
}

bool find_in_path(std::string_view name, const char* path_variable, char (&out)[kPathBytes]) {
  if (name.empty()) return false;
  if (name.find('/') != std::string_view::npos) return join("", name, out);
  std::string_view rest(path_variable != nullptr ? path_variable : kDefaultPath);
  while (true) {
    const size_t end = rest.find(':');
    if (join(first(rest, end), name, out) && is_executable(out)) return true;
    if (end == std::string_view::npos) return false;
    rest.remove_prefix(end + 1);
  }
}

// Bytes that no program format begins with: execvp and posix_spawnp hand such a text to /bin/sh.
Program classify_unknown_format(std::string_view head) {
  return head.find('\0') == std::string_view::npos ? Program::kLauncher : Program::kOther;
}

// One file of a chain of scripts.
struct Step {
  bool is_script = false;
  Program program = Program::kOther;  // of a script: by its own name
  char next[kPathBytes];              // what a script is run by
};

void follow_script(const Shebang& shebang, const char* path_variable, Step* step) {
  step->is_script = true;
  std::string_view runner = shebang.interpreter;
  if (basename(runner) == "env") {
    const std::string_view program = env_program(shebang.argument);
    if (!program.empty()) runner = program;
    // A name that is not in PATH is still a name: "python3" in an odd environment.
    if (find_in_path(runner, path_variable, step->next)) return;
  }
  if (!join("", runner, step->next)) step->next[0] = '\0';
}

void inspect_file(int directory_fd, const char* path, const char* path_variable, Step* step) {
  step->is_script = false;
  step->program = classify_name(path);
  const File file(directory_fd, path);
  if (!file.is_open()) return;
  const Program by_name = classify_file_name(path, file.fd());
  step->program = by_name;
  ElfFacts facts;
  if (read_elf(file.fd(), &facts)) {
    step->program = file.privileged() ? Program::kPrivileged : classify_elf(facts, by_name);
    return;
  }
  char head[kHeadBytes];
  const long length = sys::pread(file.fd(), head, sizeof(head), 0);
  if (length < 0) return;
  const std::string_view text(head, static_cast<size_t>(length));
  Shebang shebang;
  if (parse_shebang(text, &shebang)) {
    follow_script(shebang, path_variable, step);
  } else if (by_name == Program::kOther) {
    step->program = classify_unknown_format(text);
  }
}

}  // namespace

Program inspect(const Target& target, const char* path_variable) noexcept {
  Step step;
  char link[32];
  char current[kPathBytes];
  int directory_fd = target.directory_fd;
  const char* path = target.path;
  if (path == nullptr || path[0] == '\0') {
    if (directory_fd < 0) return Program::kOther;
    probe::descriptor_link(directory_fd, link);
    path = link;
  } else if (target.search_path && strchr(path, '/') == nullptr) {
    if (!find_in_path(path, path_variable, current)) return classify_name(path);
    path = current;
  }
  Program by_script_name = Program::kOther;
  for (int depth = 0; depth < kMaxScripts; ++depth) {
    inspect_file(directory_fd, path, path_variable, &step);
    if (!step.is_script) break;
    if (by_script_name == Program::kOther) by_script_name = step.program;
    memcpy(current, step.next, sizeof(current));
    path = current;
    directory_fd = AT_FDCWD;
  }
  // What a script is run by must be able to carry the shim; its own name counts for the rest
  // (GNU parallel is a Perl program that starts anything).
  const bool impossible = step.program == Program::kForeign || step.program == Program::kStatic;
  return by_script_name != Program::kOther && !impossible ? by_script_name : step.program;
}

}  // namespace oomguard::children
