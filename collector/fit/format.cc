#include <cstring>

#include "collector/fit/files.h"

namespace oomguard::fit {

Result<Format> format_of(const Source& source) {
  unsigned char start[9] = {};
  if (!source.read(0, start, sizeof start)) return source.wrong("too short for a checkpoint");
  if (memcmp(start, "GGUF", 4) == 0) return Format::kGguf;
  if (memcmp(start, "PK\3\4", 4) == 0) return Format::kTorchZip;
  if (start[8] == '{') return Format::kSafetensors;
  if (start[0] == 0x80 && start[1] >= 2 && start[1] <= 5) return Format::kTorchLegacy;
  if (memcmp(start, "version h", 9) == 0) {
    return source.wrong("a pointer of git-lfs and not the file itself (git lfs pull)");
  }
  return source.wrong("no safetensors, torch or GGUF file");
}

}  // namespace oomguard::fit
