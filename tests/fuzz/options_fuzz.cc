// Values as people write them into the environment and into a file, and sizes that are written and
// read again.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "collector/options/settings.h"

using namespace oomguard;

static void check_bytes(const char* text) {
  int64_t bytes = -1;
  uint32_t permille = 0;
  if (options::parse_bytes(text, &bytes) && bytes < 0) abort();
  if (options::parse_share(text, &permille) && (permille < 1 || permille > 1000)) abort();
  char shown[64];
  if (options::format_bytes(bytes, shown, sizeof shown) >= sizeof shown) abort();
  int64_t again = -1;
  if (bytes > 1 && !strstr(shown, "bytes") && !options::parse_bytes(shown, &again)) abort();
}

// The user's file, in memory.
static void write_file(const std::string& text, options::Files* files) {
  static const int fd = ::memfd_create("oomguard.conf", MFD_CLOEXEC);
  if (::fchmod(fd, 0600) != 0 || ::ftruncate(fd, 0) != 0) abort();
  if (::pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) abort();
  files->system = "/proc/self/fd/none";
  snprintf(files->user, sizeof files->user, "/proc/self/fd/%d", fd);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  check_bytes(text.c_str());
  options::Values values;
  for (const options::Option& option : options::kTable) {
    static_cast<void>(options::parse(option.id, text.c_str(), &values));
  }
  std::vector<std::string> entries;
  for (const options::Option& option : options::kTable) {
    entries.push_back(std::string(option.variable) + "=" + text.c_str());
  }
  entries.push_back(text);
  entries.push_back("MEM_LIMIT=" + text);
  entries.push_back("TMPDIR=" + text);
  std::vector<const char*> block;
  for (const std::string& entry : entries) block.push_back(entry.c_str());
  block.push_back(nullptr);
  options::Files files;
  write_file(text, &files);
  const auto tell = [](const options::Found& found, void*) {
    char line[200];
    const size_t length = options::describe(found, line, sizeof line);
    if (length > sizeof line || (length > 0 && memchr(line, '\n', length) != line + length - 1)) {
      abort();
    }
  };
  options::read_settings(block.data(), files, &values, tell, nullptr);
  if (strnlen(values.directory, sizeof values.directory) == sizeof values.directory) abort();
  char folder[64];
  if (options::default_directory(block.data(), 1000, folder, sizeof folder) >= sizeof folder) abort();
  return 0;
}
