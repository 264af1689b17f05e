// Which files hold a model's weights, by their names.
// Thread-safety: no state. Callable from a hook: yes.
#pragma once

#include <string.h>

#include <cstddef>

namespace oomguard::probe {

inline bool is_checkpoint_name(const char* path) {
  static constexpr const char* kEndings[] = {".safetensors", ".bin",  ".pt",      ".pth",  ".gguf",
                                             ".ggml",        ".ckpt", ".msgpack", ".onnx", ".npz",
                                             ".npy",         ".h5",   ".hdf5",    ".keras", ".pkl"};
  const size_t length = strlen(path);
  for (const char* ending : kEndings) {
    const size_t size = strlen(ending);
    if (length > size && strcmp(path + length - size, ending) == 0) return true;
  }
  return false;
}

}  // namespace oomguard::probe
