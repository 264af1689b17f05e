#include "shim/children/policy.h"

namespace oomguard::children {
namespace {

constexpr std::string_view kInterpreterPrefixes[] = {"python", "pypy", "ipython", "jupyter"};

constexpr std::string_view kLaunchers[] = {
    // shells
    "sh",
    "bash",
    "rbash",
    "dash",
    "ash",
    "zsh",
    "ksh",
    "mksh",
    "fish",
    "busybox",
    // the loader called by name
    "ld.so",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
    // wrappers that replace themselves or wait for what they start
    "env",
    "timeout",
    "nice",
    "ionice",
    "chrt",
    "nohup",
    "setsid",
    "stdbuf",
    "time",
    "taskset",
    "numactl",
    "setarch",
    "prlimit",
    "runuser",
    "setpriv",
    "su",
    "script",
    "watch",
    "entr",
    "xargs",
    "parallel",
    "find",
    "make",
    "gmake",
    "ninja",
    "strace",
    "ltrace",
    "gdb",
    "perf",
    // first processes of containers and services
    "tini",
    "tini-static",
    "docker-init",
    "dumb-init",
    "catatonit",
    "gosu",
    "su-exec",
    "s6-svscan",
    "supervisord",
    "systemd-run",
    // environments and package managers
    "conda",
    "mamba",
    "micromamba",
    "pixi",
    "uv",
    "uvx",
    "poetry",
    "pipenv",
    "pipx",
    "hatch",
    "tox",
    "nox",
    "pdm",
    "rye",
    // parallel jobs
    "srun",
    "mpirun",
    "mpiexec",
    "mpiexec.hydra",
    "hydra_pmi_proxy",
    "orterun",
    "orted",
    "prterun",
    "prted",
    "prun",
    "torchrun",
    "accelerate",
    "deepspeed",
    "raylet",
};

constexpr bool is_blank(char c) { return c == ' ' || c == '\t'; }

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// Cuts the first blank-separated word off `text`.
std::string_view next_word(std::string_view* text) {
  *text = trim(*text);
  size_t end = 0;
  while (end < text->size() && !is_blank((*text)[end])) ++end;
  const std::string_view word = first(*text, end);
  text->remove_prefix(end);
  return word;
}

constexpr bool takes_value(std::string_view option) {
  return option == "-u" || option == "--unset" || option == "-C" || option == "--chdir";
}

}  // namespace

std::string_view basename(std::string_view path) noexcept {
  const size_t slash = path.rfind('/');
  if (slash != std::string_view::npos) path.remove_prefix(slash + 1);
  return path;
}

Program classify_name(std::string_view path) noexcept {
  std::string_view name = basename(path);
  // A login shell is started as "-bash".
  if (name.size() > 1 && name.front() == '-') name.remove_prefix(1);
  for (std::string_view prefix : kInterpreterPrefixes) {
    if (name.starts_with(prefix)) return Program::kPython;
  }
  for (std::string_view launcher : kLaunchers) {
    if (name == launcher) return Program::kLauncher;
  }
  return Program::kOther;
}

Verdict decide(options::Children mode, Program program) noexcept {
  if (mode == options::Children::kNone) return Verdict::kDrop;
  switch (program) {
    case Program::kForeign:
    case Program::kStatic:
      return Verdict::kDrop;
    case Program::kPython:
    case Program::kLauncher:
    case Program::kPrivileged:
      return Verdict::kKeep;
    case Program::kOther:
      break;
  }
  return mode == options::Children::kAll ? Verdict::kKeep : Verdict::kDrop;
}

bool parse_shebang(std::string_view head, Shebang* out) noexcept {
  if (!head.starts_with("#!")) return false;
  head.remove_prefix(2);
  size_t end = 0;
  while (end < head.size() && head[end] != '\n' && head[end] != '\0') ++end;
  std::string_view line = trim(first(head, end));
  out->interpreter = next_word(&line);
  out->argument = trim(line);
  return !out->interpreter.empty();
}

std::string_view env_program(std::string_view argument) noexcept {
  while (true) {
    std::string_view word = next_word(&argument);
    if (word.empty()) return {};
    // "-Spython3" is one word; a lone "-S" splits what follows, which is what we do anyway.
    if (word.starts_with("-S") && word.size() > 2) {
      word.remove_prefix(2);
      return word;
    }
    if (takes_value(word)) {
      (void)next_word(&argument);
      continue;
    }
    if (word.front() == '-' || word.find('=') != std::string_view::npos) continue;
    return word;
  }
}

}  // namespace oomguard::children
