// One module's file, opened with libdw. Thread-safety: one thread. Callable from a hook: no.
#pragma once

#include <elfutils/libdwfl.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "collector/symbolize/symbolizer.h"

namespace oomguard::symbolize {

class ModuleFile {
 public:
  // A file that cannot be read, or has another build-id, has no frames.
  ModuleFile(const std::string& path, std::span<const uint8_t> build_id);

  // As Symbolizer::at. `address`: as the file has it, within the call.
  std::vector<SourceFrame> at(uint64_t address) const;

 private:
  // All in addresses of libdwfl's, which are the file's + a bias.
  std::vector<SourceFrame> from_debug_information(Dwarf_Addr address) const;
  std::string symbol_at(Dwarf_Addr address) const;
  void set_line(Dwarf_Addr address, SourceFrame* frame) const;

  struct End {
    void operator()(Dwfl* session) const { dwfl_end(session); }
  };
  std::unique_ptr<Dwfl, End> session_;
  Dwfl_Module* module_ = nullptr;
  Dwarf_Addr bias_ = 0;
};

}  // namespace oomguard::symbolize
