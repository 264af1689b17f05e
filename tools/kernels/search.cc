#include "tools/kernels/search.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <system_error>

#include "tools/command/exit_status.h"

namespace oomguard::tools {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string variable(const char* name) {
  const char* value = ::getenv(name);
  return value != nullptr ? value : "";
}

// As Jupyter's own `~`: of the user database where the environment does not say.
std::string home_folder() {
  if (const std::string home = variable("HOME"); !home.empty()) return home;
  // Not getpwuid(): a statically linked command cannot ask the name services.
  const std::unique_ptr<FILE, int (*)(FILE*)> users(::fopen("/etc/passwd", "re"), ::fclose);
  while (const passwd* user = users ? ::fgetpwent(users.get()) : nullptr) {
    if (user->pw_uid == ::getuid() && user->pw_dir != nullptr) return user->pw_dir;
  }
  return "";
}

std::string prefix_folder(const std::string& prefix) { return prefix + "/share/jupyter"; }

// The prefix of the `jupyter` command, where it is not the one of the Python that was asked.
std::string jupyter_prefix() {
  std::istringstream folders(variable("PATH"));
  std::error_code error;
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (!folder.empty() && fs::exists(folder + "/jupyter", error)) {
      return fs::path(folder).parent_path().string();
    }
  }
  return "";
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace

bool Kernelspec::is_ours() const {
  const auto metadata = spec.find("metadata");
  return metadata != spec.end() && metadata->is_object() && metadata->contains(kMark);
}

std::string user_data_folder() {
  if (const std::string own = variable("JUPYTER_DATA_DIR"); !own.empty()) return own;
  if (const std::string data = variable("XDG_DATA_HOME"); !data.empty()) return data + "/jupyter";
  return home_folder() + "/.local/share/jupyter";
}

std::vector<std::string> kernel_folders(const PythonFacts* python) {
  std::vector<std::string> data;
  std::istringstream configured(variable("JUPYTER_PATH"));
  for (std::string folder; std::getline(configured, folder, ':');) data.push_back(folder);
  std::vector<std::string> environment;
  if (const std::string venv = variable("VIRTUAL_ENV"); !venv.empty()) {
    environment.push_back(prefix_folder(venv));
  }
  if (python != nullptr) environment.push_back(prefix_folder(python->prefix));
  if (const std::string prefix = jupyter_prefix(); !prefix.empty()) {
    environment.push_back(prefix_folder(prefix));
  }
  const bool user_first = variable("VIRTUAL_ENV").empty();
  if (user_first) data.push_back(user_data_folder());
  data.insert(data.end(), environment.begin(), environment.end());
  if (!user_first) data.push_back(user_data_folder());
  data.insert(data.end(), {"/usr/local/share/jupyter", "/usr/share/jupyter"});
  std::vector<std::string> folders;
  for (const std::string& folder : data) {
    const std::string kernels = fs::path(folder + "/kernels").lexically_normal().string();
    const bool known = std::find(folders.begin(), folders.end(), kernels) != folders.end();
    if (!folder.empty() && !known) folders.push_back(kernels);
  }
  return folders;
}

bool is_kernel_name(const std::string& name) {
  if (name.empty() || name[0] == '.') return false;
  return std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return (std::isalnum(c) != 0 && std::isupper(c) == 0) || c == '.' || c == '-' || c == '_';
  });
}

Result<Kernelspec> read_kernelspec(const std::string& folder, const std::string& name) {
  const std::string path = folder + "/kernel.json";
  std::ifstream file(path);
  if (!file) return Error{path + ": cannot be read", kFailed};
  Kernelspec kernelspec{name, folder, Json::parse(file, nullptr, false)};
  const Json& spec = kernelspec.spec;
  const bool has_argv = spec.is_object() && spec.contains("argv") && spec["argv"].is_array() &&
                        !spec["argv"].empty() &&
                        std::all_of(spec["argv"].begin(), spec["argv"].end(),
                                    [](const Json& word) { return word.is_string(); });
  if (!has_argv) return Error{path + ": not a kernelspec (no \"argv\" list of strings)", kFailed};
  return kernelspec;
}

std::vector<Kernelspec> list_kernelspecs(const std::vector<std::string>& folders) {
  std::vector<Kernelspec> found;
  std::set<std::string> names;
  for (const std::string& folder : folders) {
    std::error_code error;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
      const std::string name = at->path().filename().string();
      if (name[0] == '.' || names.contains(name)) continue;
      auto kernelspec = read_kernelspec(at->path().string(), name);
      if (!kernelspec) continue;
      names.insert(name);
      found.push_back(std::move(*kernelspec));
    }
  }
  std::sort(found.begin(), found.end(),
            [](const Kernelspec& a, const Kernelspec& b) { return a.name < b.name; });
  return found;
}

Result<Kernelspec> find_kernelspec(const std::vector<std::string>& folders,
                                   const std::string& name) {
  std::error_code error;
  for (const std::string& folder : folders) {
    const std::string candidate = folder + "/" + name;
    if (is_kernel_name(name) && fs::exists(candidate + "/kernel.json", error)) {
      return read_kernelspec(candidate, name);
    }
  }
  std::vector<std::string> names;
  for (const Kernelspec& other : list_kernelspecs(folders)) names.push_back(other.name);
  return Error{
      "no kernelspec '" + name + "'; " +
          (names.empty() ? "none was found in " + joined(folders) : "found: " + joined(names)),
      kUnknownKernelspec};
}

}  // namespace oomguard::tools
