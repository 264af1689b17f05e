// Names, files and lines for addresses of code, from a module's file and its debug information
// (elfutils' libdw). For the tools: never in a guarded process.
//
// Nothing is claimed of a file that is not the one that was loaded, which the build-id says. Files
// may be damaged: then there are no frames. Debug information is looked for in the file, beside it
// and in the system's folder (/usr/lib/debug), never on the network. Built without libdw, there are
// never any frames. Thread-safety: one thread for each object; the first one made takes
// DEBUGINFOD_URLS out of the environment. Callable from a hook: no.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace oomguard::symbolize {

struct SourceFrame {
  std::string function;  // demangled; "": not known (show module + offset)
  std::string file;      // "": not known
  int line = 0;          // 0: not known
  bool inlined = false;  // into the next one
};

// Whether this build has libdw.
bool is_available();

class Symbolizer {
 public:
  Symbolizer();
  ~Symbolizer();
  Symbolizer(const Symbolizer&) = delete;
  Symbolizer& operator=(const Symbolizer&) = delete;

  // The functions at a return address, of which the call before it is looked up: what was inlined
  // first, the function itself last. Empty: nothing is known. `offset`: the address minus the
  // module's load bias. Files stay open between calls.
  std::vector<SourceFrame> at(const std::string& path, std::span<const uint8_t> build_id,
                              uint64_t offset);

 private:
  class Files;
  std::unique_ptr<Files> files_;
};

}  // namespace oomguard::symbolize
