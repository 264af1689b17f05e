// Values as people write them into the environment, and sizes that are written and read again.
#include <stdlib.h>
#include <string.h>

#include <string>
#include <vector>

#include "collector/options/options.h"

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
  options::Rejected rejected[2];
  options::parse_environment(block.data(), &values, rejected, 2);
  if (strnlen(values.directory, sizeof values.directory) == sizeof values.directory) abort();
  char folder[64];
  if (options::default_directory(block.data(), 1000, folder, sizeof folder) >= sizeof folder) abort();
  return 0;
}
