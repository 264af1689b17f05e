#include "tools/launch/target.h"

#include <elf.h>
#include <errno.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "tools/command/exit_status.h"

namespace oomguard::tools {
namespace {

#if defined(__x86_64__)
constexpr unsigned kMachine = EM_X86_64;
#else
constexpr unsigned kMachine = EM_AARCH64;
#endif
constexpr int kMaxInterpreters = 4;  // the kernel follows as many
constexpr size_t kMaxHeaders = 128;

bool is_file(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

bool is_executable_file(const std::string& path) {
  return is_file(path) && ::access(path.c_str(), X_OK) == 0;
}

Error unguardable(const std::string& path, const std::string& why) {
  return Error{
      path + ": " + why + ", so oomguard cannot guard it (without 'oomguard run' it starts)",
      kNotExecutable};
}

// The interpreter of a script, as execve would start it; empty where the file is no script.
// `/usr/bin/env NAME` stands for NAME.
Result<std::string> script_interpreter(const std::string& path, const std::string& first_line) {
  std::istringstream words(first_line.substr(2));
  std::string interpreter;
  words >> interpreter;
  if (!is_executable_file(interpreter)) {
    return Error{path + ": its interpreter '" + interpreter + "' cannot be executed",
                 kNotExecutable};
  }
  if (std::filesystem::path(interpreter).filename() != "env") return interpreter;
  std::string word;
  while (words >> word) {
    if (word[0] != '-' && word.find('=') == std::string::npos) return find_program(word);
  }
  return interpreter;
}

template <typename T>
bool read_at(std::ifstream& file, uint64_t offset, T* out) {
  file.clear();
  file.seekg(static_cast<std::streamoff>(offset));
  return static_cast<bool>(file.read(reinterpret_cast<char*>(out), sizeof(T)));
}

// The path of the dynamic loader that the program names; empty for a static one.
std::string loader_of(std::ifstream& file, const Elf64_Ehdr& header) {
  for (size_t i = 0; i < header.e_phnum && i < kMaxHeaders; ++i) {
    Elf64_Phdr segment{};
    if (!read_at(file, header.e_phoff + i * sizeof(segment), &segment)) return "";
    if (segment.p_type != PT_INTERP) continue;
    char path[256] = "";
    file.clear();
    file.seekg(static_cast<std::streamoff>(segment.p_offset));
    file.read(path, static_cast<std::streamsize>(std::min<uint64_t>(segment.p_filesz, 255)));
    return path;
  }
  return "";
}

// With AT_SECURE the loader ignores a preloaded path.
bool changes_credentials(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return false;
  if ((info.st_mode & S_ISUID) != 0 && info.st_uid != ::getuid()) return true;
  if ((info.st_mode & S_ISGID) != 0 && info.st_gid != ::getgid()) return true;
  return ::getuid() != 0 && ::getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
}

Result<bool> check_elf(const std::string& path, std::ifstream& file) {
  Elf64_Ehdr header{};
  if (!read_at(file, 0, &header)) return unguardable(path, "damaged ELF header");
  if (header.e_ident[EI_CLASS] != ELFCLASS64) return unguardable(path, "a 32-bit program");
  if (header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != kMachine) {
    return unguardable(path, "made for another machine");
  }
  const std::string loader = loader_of(file, header);
  if (loader.empty()) return unguardable(path, "statically linked");
  if (loader.find("ld-musl") != std::string::npos) {
    return unguardable(path, "linked with another C library (musl)");
  }
  if (changes_credentials(path)) {
    return unguardable(path, "set-user-ID, set-group-ID or with capabilities");
  }
  return true;
}

}  // namespace

Result<std::string> find_program(const std::string& program) {
  std::vector<std::string> candidates;
  if (program.find('/') != std::string::npos) {
    candidates.push_back(program);
  } else {
    const char* path = ::getenv("PATH");
    std::istringstream folders(path != nullptr ? path : "/bin:/usr/bin");
    for (std::string folder; std::getline(folders, folder, ':');) {
      candidates.push_back((folder.empty() ? "." : folder) + "/" + program);
    }
  }
  std::string present;
  for (const std::string& candidate : candidates) {
    if (program.empty()) break;
    if (is_executable_file(candidate)) return candidate;
    if (present.empty() && ::access(candidate.c_str(), F_OK) == 0) present = candidate;
  }
  if (present.empty()) return Error{"'" + program + "' was not found", kNotFound};
  const bool folder = std::filesystem::is_directory(present);
  return Error{present + ": " + (folder ? "a folder, not a program" : "not executable"),
               kNotExecutable};
}

Result<bool> check_guardable(const std::string& path) {
  std::string target = path;
  for (int depth = 0; depth <= kMaxInterpreters; ++depth) {
    std::ifstream file(target, std::ios::binary);
    // Executable but not readable: nothing can be said, so let it try.
    if (!file) return true;
    char start[256] = "";
    file.read(start, sizeof(start) - 1);
    if (memcmp(start, ELFMAG, SELFMAG) == 0) return check_elf(target, file);
    if (memcmp(start, "#!", 2) != 0) return true;  // execvp has /bin/sh read it
    const std::string text = start;
    const auto interpreter = script_interpreter(target, text.substr(0, text.find('\n')));
    if (!interpreter) return interpreter.error();
    target = *interpreter;
  }
  return Error{path + ": too many interpreters behind each other", kNotExecutable};
}

}  // namespace oomguard::tools
