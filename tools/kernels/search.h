// Where Jupyter keeps kernelspecs, and which there are.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "collector/record/result.h"
#include "tools/kernels/python.h"

namespace oomguard::tools {

// The key in a kernelspec's metadata that says it is one of ours.
inline constexpr const char* kMark = "oomguard";

struct Kernelspec {
  std::string name;
  std::string folder;
  nlohmann::ordered_json spec;  // kernel.json
  bool is_ours() const;
};

// "<data folder>/kernels", the first wins, in Jupyter's own order: JUPYTER_PATH, the user's, the
// environment's (before the user's inside a virtual environment), the machine's. `python` may be
// null.
std::vector<std::string> kernel_folders(const PythonFacts* python);

// The user's own data folder.
std::string user_data_folder();

// Jupyter takes names of letters, digits, dot, dash and underscore, in lower case.
bool is_kernel_name(const std::string& name);

// Every readable kernelspec of the folders, the first of each name only.
std::vector<Kernelspec> list_kernelspecs(const std::vector<std::string>& folders);
// The one of that name, read whole; an error where it is missing (naming those that exist) or
// kernel.json is not what Jupyter would take.
Result<Kernelspec> find_kernelspec(const std::vector<std::string>& folders,
                                   const std::string& name);
Result<Kernelspec> read_kernelspec(const std::string& folder, const std::string& name);

}  // namespace oomguard::tools
