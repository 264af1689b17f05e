// What an exec hook looks at: the file that is to be executed, and the environment it gets.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <vector>

#include "shim/budget/callers.h"
#include "shim/budget/rust_module.h"
#include "shim/children/elf_file.h"
#include "shim/children/environment.h"
#include "shim/children/inspect.h"
#include "tests/fuzz/system_calls.h"

using namespace oomguard;

static void look_at_file(const uint8_t* data, size_t size) {
  const int fd = fuzz::make_file(data, size);
  fchmod(fd, 0700);
  children::ElfFacts facts;
  static_cast<void>(children::read_elf(fd, &facts));
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  static_cast<void>(children::inspect({path.c_str(), AT_FDCWD, false}, "/nowhere"));
  static_cast<void>(budget::made_by_rust(path.c_str()));
  static_cast<void>(budget::unwinds(path.c_str()));
  close(fd);
}

static void rewrite_environment(const std::string& text) {
  static constexpr std::string_view kLibrary = "/opt/lib/liboomguard.so";
  std::string entries = text;
  std::vector<char*> block;
  for (size_t at = 0; at < entries.size(); at += strlen(entries.c_str() + at) + 1) {
    block.push_back(entries.data() + at);
  }
  block.push_back(nullptr);
  std::vector<char> scratch(children::scratch_bytes(block.data(), kLibrary));
  if (scratch.empty()) return;  // nothing to take out
  char* const* made =
      children::without_library(block.data(), kLibrary, scratch.data(), scratch.size());
  if (made == nullptr) return;
  const char* preload = children::find_variable(made, "LD_PRELOAD");
  if (preload == nullptr) return;
  const std::string_view left(preload);
  if (left.substr(0, left.find_first_of(": ")) == kLibrary) abort();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  children::Shebang shebang;
  if (children::parse_shebang(text, &shebang)) {
    static_cast<void>(children::classify_name(children::env_program(shebang.argument)));
  }
  static_cast<void>(children::classify_name(text));
  static_cast<void>(budget::classify_path(text.c_str()));
  look_at_file(data, size);
  rewrite_environment(text);
  return 0;
}
