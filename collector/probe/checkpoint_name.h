// Which files hold a model's weights, by their names.
// Thread-safety: no state. Callable from a hook: yes.
#pragma once

#include <string.h>

#include <cstddef>

namespace oomguard::probe {

// ".../models--meta-llama--Llama-3.1-8B/blobs/HASH": where the hub's client keeps large files, which
// have their names as symbolic links elsewhere.
inline bool is_hub_blob(const char* path) {
  constexpr size_t kHash = 64;
  static constexpr char kFolder[] = "/blobs/";
  constexpr size_t kEnd = sizeof kFolder - 1 + kHash;
  const size_t length = strlen(path);
  if (length <= kEnd || strncmp(path + length - kEnd, kFolder, sizeof kFolder - 1) != 0) return false;
  for (const char* at = path + length - kHash; *at != '\0'; ++at) {
    if ((*at < '0' || *at > '9') && (*at < 'a' || *at > 'f')) return false;
  }
  return strstr(path, "/models--") != nullptr;
}

inline bool is_checkpoint_name(const char* path) {
  static constexpr const char* kEndings[] = {".safetensors", ".bin",  ".pt",      ".pth",  ".gguf",
                                             ".ggml",        ".ckpt", ".msgpack", ".onnx", ".npz",
                                             ".npy",         ".h5",   ".hdf5",    ".keras", ".pkl"};
  const size_t length = strlen(path);
  for (const char* ending : kEndings) {
    const size_t size = strlen(ending);
    if (length > size && strcmp(path + length - size, ending) == 0) return true;
  }
  return is_hub_blob(path);
}

}  // namespace oomguard::probe
