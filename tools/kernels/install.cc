#include "tools/kernels/install.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "tools/command/exit_status.h"
#include "tools/preload/library.h"

namespace oomguard::tools {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Jupyter replaces $NAME and ${NAME} in the values of "env"; $$ stands for one $.
std::string as_template(const std::string& value) {
  std::string out;
  for (const char c : value) out += c == '$' ? "$$" : std::string(1, c);
  return out;
}

// The entries of the source's LD_PRELOAD that name a file. A reference such as ${LD_PRELOAD} stays
// as it is written where the variable is not set, and ld.so complains about it at every start.
std::string usable_preload(const Json& environment) {
  const auto found = environment.find("LD_PRELOAD");
  if (found == environment.end() || !found->is_string()) return "";
  std::string kept;
  const std::string all = found->get<std::string>();
  for (size_t at = 0; at < all.size();) {
    const size_t end = std::min(all.find_first_of(": ", at), all.size());
    const std::string entry = all.substr(at, end - at);
    if (!entry.empty() && entry.find('$') == std::string::npos) kept += ":" + entry;
    at = end + 1;
  }
  return kept;
}

Error cannot_write(const std::string& path, const std::string& why) {
  return Error{path + ": cannot be written: " + why, kCannotWrite};
}

// A folder beside the others, hidden from Jupyter until it is complete; gone again if it never is.
class Staging {
 public:
  explicit Staging(const std::string& kernels)
      : path_(kernels + "/.oomguard-" + std::to_string(::getpid())) {}
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::error_code copy_resources(const std::string& from, const std::string& to) {
  std::error_code error;
  if (from.empty()) return error;
  for (fs::directory_iterator at(from, error), end; !error && at != end; at.increment(error)) {
    const fs::path name = at->path().filename();
    if (name == "kernel.json") continue;
    fs::copy(at->path(), fs::path(to) / name, fs::copy_options::recursive, error);
    if (error) break;
  }
  return error;
}

bool write_spec(const std::string& path, const Json& spec) {
  std::ofstream file(path);
  file << spec.dump(1, ' ', false, Json::error_handler_t::replace) << "\n";
  file.close();
  return static_cast<bool>(file);
}

// Puts the staged folder in the place of `target`. An older one comes back in the staged place and
// goes with it.
int exchange(const std::string& staged, const std::string& target) {
  if (::renameat2(AT_FDCWD, staged.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) == 0) {
    return 0;
  }
  if (errno == EEXIST) {
    return ::renameat2(AT_FDCWD, staged.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE);
  }
  // A file system without these flags: rename replaces nothing but an empty folder.
  if (errno != EINVAL && errno != ENOSYS) return -1;
  const std::string old = staged + ".old";
  ::rename(target.c_str(), old.c_str());
  const int result = ::rename(staged.c_str(), target.c_str());
  std::error_code error;
  if (result == 0) fs::remove_all(old, error);
  if (result != 0) ::rename(old.c_str(), target.c_str());
  return result;
}

// Nothing may be in the way but a kernelspec of ours that is to be replaced.
Result<bool> check_target(const std::string& target, const std::string& name, bool force) {
  std::error_code error;
  const auto type = fs::symlink_status(target, error).type();
  if (type == fs::file_type::not_found) return true;
  if (type == fs::file_type::none) return cannot_write(target, error.message());
  const auto present = read_kernelspec(target, name);
  if (!present || !present->is_ours()) {
    return Error{target + " exists and is not oomguard's; take another --name", kKernelspecExists};
  }
  if (force) return true;
  return Error{target + " exists; --force replaces it", kKernelspecExists};
}

}  // namespace

Json guarded_spec(const Kernelspec& source, const Guard& guard) {
  Json spec = source.spec;
  const std::string shown = spec.value("display_name", Json(source.name)).is_string()
                                ? spec.value("display_name", source.name)
                                : source.name;
  spec["display_name"] = guard.display_name.empty() ? shown + " (oomguard)" : guard.display_name;
  Json environment = spec.contains("env") && spec["env"].is_object() ? spec["env"] : Json::object();
  environment["LD_PRELOAD"] = compose_preload(guard.preload, usable_preload(environment));
  for (const auto& [name, value] : guard.variables) environment[name] = as_template(value);
  spec["env"] = environment;
  if (!spec.contains("metadata") || !spec["metadata"].is_object())
    spec["metadata"] = Json::object();
  spec["metadata"][kMark] = {{"version", OOMGUARD_VERSION}, {"source", source.name}};
  return spec;
}

Result<std::string> install_kernelspec(const Kernelspec& source, const Json& spec,
                                       const std::string& kernels, const std::string& name,
                                       bool force) {
  const std::string target = kernels + "/" + name;
  const auto free = check_target(target, name, force);
  if (!free) return free.error();
  std::error_code error;
  fs::create_directories(kernels, error);
  if (error) return cannot_write(kernels, error.message());
  const Staging staging(kernels);
  fs::create_directory(staging.path(), error);
  if (error) return cannot_write(kernels, error.message());
  error = copy_resources(source.folder, staging.path());
  if (error) return cannot_write(target, error.message());
  if (!write_spec(staging.path() + "/kernel.json", spec)) {
    return cannot_write(target, "kernel.json could not be completed");
  }
  if (exchange(staging.path(), target) != 0) return cannot_write(target, strerror(errno));
  return target;
}

Result<bool> remove_kernelspec(const Kernelspec& kernelspec) {
  if (!kernelspec.is_ours()) {
    return Error{kernelspec.folder + " is not oomguard's and stays", kKernelspecExists};
  }
  const fs::path folder = kernelspec.folder;
  const Staging staging(folder.parent_path().string());
  if (::rename(folder.c_str(), staging.path().c_str()) != 0) {
    return cannot_write(folder.string(), strerror(errno));
  }
  return true;
}

}  // namespace oomguard::tools
