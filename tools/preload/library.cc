#include "tools/preload/library.h"

#include <filesystem>
#include <system_error>

#include "tools/command/exit_status.h"

namespace oomguard::tools {
namespace {

namespace fs = std::filesystem;

constexpr const char* kName = "liboomguard.so";
constexpr const char* kFolders[] = {"lib", "lib64",
#if defined(__x86_64__)
                                    "lib/x86_64-linux-gnu",
#elif defined(__aarch64__)
                                    "lib/aarch64-linux-gnu",
#endif
                                    OOMGUARD_LIBDIR};

constexpr const char* kJemalloc = "libjemalloc.so.2";
constexpr const char* kSystemFolders[] = {
#if defined(__x86_64__)
    "/usr/lib/x86_64-linux-gnu",
#elif defined(__aarch64__)
    "/usr/lib/aarch64-linux-gnu",
#endif
    "/usr/lib64", "/usr/lib", "/usr/local/lib"};

bool is_ours(const std::string& entry) { return fs::path(entry).filename() == kName; }

}  // namespace

Result<std::string> find_library() {
  std::error_code error;
  const fs::path command = fs::read_symlink("/proc/self/exe", error);
  if (error) return Error{"/proc/self/exe: " + error.message(), kNoLibrary};
  const fs::path prefix = command.parent_path().parent_path();
  for (const char* folder : kFolders) {
    const fs::path library = prefix / folder / kName;
    if (!fs::is_regular_file(library, error)) continue;
    const std::string path = library.string();
    if (path.find_first_of(" \t\n:$") != std::string::npos) {
      return Error{"'" + path +
                       "' cannot be preloaded: LD_PRELOAD allows no space, colon or $ in a "
                       "path; install oomguard under another one",
                   kNoLibrary};
    }
    return path;
  }
  return Error{std::string(kName) + " was not found in the lib folder of " + prefix.string() +
                   "; the installation is not complete",
               kNoLibrary};
}

Result<std::string> find_jemalloc() {
  std::error_code error;
  for (const char* folder : kSystemFolders) {
    const fs::path library = fs::path(folder) / kJemalloc;
    if (fs::is_regular_file(library, error)) return library.string();
  }
  return Error{std::string("--allocator jemalloc: ") + kJemalloc +
                   " was not found; it is in the package libjemalloc2 (Debian, Ubuntu) or jemalloc",
               kNoLibrary};
}

Result<std::string> find_preload(const options::Values& settings) {
  auto library = find_library();
  if (!library || settings.allocator == options::Allocator::kSystem) return library;
  const auto jemalloc = find_jemalloc();
  if (!jemalloc) return jemalloc.error();
  return *library + ":" + *jemalloc;
}

std::string compose_preload(const std::string& preload, const std::string& existing) {
  std::string all = preload;
  for (size_t at = 0; at < existing.size();) {
    const size_t start = existing.find_first_not_of(": \t\n", at);
    if (start == std::string::npos) break;
    const size_t end = std::min(existing.find_first_of(": \t\n", start), existing.size());
    const std::string entry = existing.substr(start, end - start);
    const bool known = (":" + preload + ":").find(":" + entry + ":") != std::string::npos;
    if (!is_ours(entry) && !known) all += ":" + entry;
    at = end;
  }
  return all;
}

}  // namespace oomguard::tools
