// `oomguard kernelspec`: Jupyter kernels that run guarded.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>

#include "tools/command/exit_status.h"
#include "tools/command/option_flags.h"
#include "tools/command/verb.h"
#include "tools/kernels/install.h"
#include "tools/kernels/python.h"
#include "tools/kernels/search.h"
#include "tools/preload/library.h"

namespace oomguard::tools {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kDefaultSource = "python3";

struct Place {
  bool user = false;
  bool sys_prefix = false;
  std::string prefix;
  std::string python;

  void add_to(CLI::App* app) {
    auto* own = app->add_flag("--user", user, "The user's own folder of kernels (default)");
    auto* system = app->add_flag("--sys-prefix", sys_prefix,
                                 "The prefix of --python, such as a virtual environment");
    auto* other = app->add_option("--prefix", prefix, "Any prefix: PREFIX/share/jupyter/kernels");
    other->option_text("PREFIX");
    own->excludes(system);
    own->excludes(other);
    system->excludes(other);
    app->add_option(
           "--python", python,
           "The interpreter asked for --sys-prefix and for a kernel that has no kernelspec "
           "on disk [the virtual environment's, else python3]")
        ->option_text("PYTHON");
  }
};

struct KernelspecArguments {
  Place place;
  OptionFlags flags;
  std::string name;
  std::string source = kDefaultSource;
  std::string display_name;
  bool force = false;
  bool json = false;
};

const PythonFacts* known(const Result<PythonFacts>& python) { return python ? &*python : nullptr; }

// Folder of kernels that the arguments name; nothing where they name none.
Result<std::optional<std::string>> named_kernels(const Place& place,
                                                 const Result<PythonFacts>& python) {
  std::optional<std::string> folder;
  if (!place.prefix.empty()) {
    std::error_code error;
    folder =
        fs::absolute(place.prefix, error).lexically_normal().string() + "/share/jupyter/kernels";
  } else if (place.sys_prefix) {
    if (!python) return python.error();
    folder = python->prefix + "/share/jupyter/kernels";
  } else if (place.user) {
    folder = user_data_folder() + "/kernels";
  }
  return folder;
}

// A kernelspec with "python" in argv[0] means its own environment's interpreter. Copied elsewhere
// it would mean another, so the path is written out where it is known.
void pin_interpreter(Kernelspec* source) {
  Json& program = source->spec["argv"][0];
  const std::string word = program.get<std::string>();
  if (!word.starts_with("python") || word.find('/') != std::string::npos) return;
  // <prefix>/share/jupyter/kernels/<name>
  const fs::path kernels = fs::path(source->folder).parent_path();
  const fs::path prefix = kernels.parent_path().parent_path().parent_path();
  const fs::path interpreter = prefix / "bin" / word;
  std::error_code error;
  if (fs::is_regular_file(interpreter, error)) program = interpreter.string();
}

// The kernel that Jupyter offers for an environment with ipykernel although no kernelspec is there.
Kernelspec native_kernelspec(const PythonFacts& python) {
  Kernelspec kernelspec{kDefaultSource, "", Json::object()};
  kernelspec.spec["argv"] = {python.executable, "-m", "ipykernel_launcher", "-f",
                             "{connection_file}"};
  kernelspec.spec["display_name"] = "Python 3 (ipykernel)";
  kernelspec.spec["language"] = "python";
  kernelspec.spec["metadata"] = {{"debugger", true}};
  return kernelspec;
}

Result<Kernelspec> find_source(const KernelspecArguments& arguments,
                               const Result<PythonFacts>& python) {
  std::vector<std::string> folders = kernel_folders(known(python));
  if (!arguments.place.python.empty()) {
    // An interpreter that was named is meant, whatever kernelspecs there are elsewhere.
    if (!python) return python.error();
    folders = {python->prefix + "/share/jupyter/kernels"};
  }
  auto found = find_kernelspec(folders, arguments.source);
  if (found) {
    pin_interpreter(&*found);
    return found;
  }
  const bool missing = found.error().exit_status == kUnknownKernelspec;
  if (missing && arguments.source == kDefaultSource && python && python->has_ipykernel) {
    return native_kernelspec(*python);
  }
  return found;
}

Result<int> install(const KernelspecArguments& arguments) {
  const std::string name = arguments.name.empty() ? "oomguard-" + arguments.source : arguments.name;
  if (!is_kernel_name(name)) {
    return Error{"--name: '" + name +
                     "' is not accepted; accepted: lower-case letters, digits, dot, "
                     "dash and underscore",
                 kBadUsage};
  }
  const auto variables = arguments.flags.variables();
  if (!variables) return variables.error();
  const auto values = arguments.flags.values();
  if (!values) return values.error();
  const auto preload = find_preload(*values);
  if (!preload) return preload.error();
  const auto python = ask_python(arguments.place.python);
  const auto named = named_kernels(arguments.place, python);
  if (!named) return named.error();
  const auto source = find_source(arguments, python);
  if (!source) return source.error();
  const Json spec = guarded_spec(*source, {*preload, *variables, arguments.display_name});
  const std::string kernels = named->value_or(user_data_folder() + "/kernels");
  const auto folder = install_kernelspec(*source, spec, kernels, name, arguments.force);
  if (!folder) return folder.error();
  printf("Installed kernelspec %s in %s\n", name.c_str(), folder->c_str());
  return kOk;
}

Result<std::vector<std::string>> searched_folders(const Place& place) {
  const auto python = ask_python(place.python);
  const auto named = named_kernels(place, python);
  if (!named) return named.error();
  if (named->has_value()) return std::vector<std::string>{**named};
  return kernel_folders(known(python));
}

Result<int> list(const KernelspecArguments& arguments) {
  const auto folders = searched_folders(arguments.place);
  if (!folders) return folders.error();
  Json all = Json::array();
  for (const Kernelspec& kernelspec : list_kernelspecs(*folders)) {
    if (!kernelspec.is_ours()) continue;
    all.push_back({{"name", kernelspec.name}, {"folder", kernelspec.folder}});
    if (!arguments.json) printf("%-24s %s\n", kernelspec.name.c_str(), kernelspec.folder.c_str());
  }
  if (arguments.json) {
    printf("%s\n", all.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  } else if (all.empty()) {
    fprintf(stderr, "No kernelspec of oomguard is installed.\n");
  }
  return kOk;
}

Result<int> remove(const KernelspecArguments& arguments) {
  const auto folders = searched_folders(arguments.place);
  if (!folders) return folders.error();
  const auto found = find_kernelspec(*folders, arguments.name);
  if (!found) return found.error();
  const auto removed = remove_kernelspec(*found);
  if (!removed) return removed.error();
  printf("Removed kernelspec %s from %s\n", found->name.c_str(), found->folder.c_str());
  return kOk;
}

}  // namespace

std::vector<Verb> add_kernelspec(CLI::App& parent) {
  auto* group = parent.add_subcommand("kernelspec", "Jupyter kernels that run guarded");
  group->require_subcommand(1);
  std::vector<Verb> verbs;
  const auto add = [&](const char* name, const char* help,
                       Result<int> (*act)(const KernelspecArguments&)) {
    auto arguments = std::make_shared<KernelspecArguments>();
    auto* app = group->add_subcommand(name, help);
    arguments->place.add_to(app);
    verbs.push_back({app, [arguments, act] { return act(*arguments); }});
    return arguments;
  };
  auto installed = add("install", "Install a guarded copy of a kernelspec", install);
  auto* app = verbs.back().app;
  app->add_option("--from", installed->source, "The kernelspec to guard")
      ->option_text("NAME [python3]");
  app->add_option("--name", installed->name, "Its new name [oomguard-NAME]")->option_text("NAME");
  app->add_option("--display-name", installed->display_name, "What Jupyter shows")
      ->option_text("TEXT");
  app->add_flag("--force", installed->force, "Replace a kernelspec of oomguard");
  installed->flags.add_to(app);
  auto listed = add("list", "List the kernelspecs of oomguard", list);
  verbs.back().app->add_flag("--json", listed->json, "As JSON");
  auto removed = add("remove", "Remove a kernelspec of oomguard", remove);
  verbs.back().app->add_option("NAME", removed->name, "Its name")->required();
  return verbs;
}

}  // namespace oomguard::tools
