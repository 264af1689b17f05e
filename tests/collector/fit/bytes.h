// Checkpoint files made by hand, in a folder of their own.
#pragma once

#include <stdlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace oomguard::fit {

class Folder {
 public:
  Folder() {
    std::string name = std::filesystem::temp_directory_path() / "oomguard-fit-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string path(const std::string& name = "") const {
    return name.empty() ? path_ : path_ + "/" + name;
  }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }

 private:
  std::string path_;
};

template <typename T>
std::string little(T value) {
  std::string text;
  for (size_t i = 0; i < sizeof value; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

inline std::string safetensors(const std::string& header, size_t data) {
  return little(uint64_t{header.size()}) + header + std::string(data, '\0');
}

inline std::string text_of(const std::string& text) { return little(uint64_t{text.size()}) + text; }

inline std::string gguf(const std::string& entries, uint64_t entry_count,
                        const std::string& tensors, uint64_t tensor_count, size_t data) {
  std::string file =
      "GGUF" + little(uint32_t{3}) + little(tensor_count) + little(entry_count) + entries + tensors;
  file.resize((file.size() + 31) / 32 * 32 + data, '\0');
  return file;
}

inline std::string gguf_tensor(const std::string& name, uint64_t length, uint32_t type,
                               uint64_t offset) {
  return text_of(name) + little(uint32_t{1}) + little(length) + little(type) + little(offset);
}

}  // namespace oomguard::fit
