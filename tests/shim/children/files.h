// A temporary folder with programs made by a test: scripts, copies and bent ELF headers.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace oomguard::children {

class Files {
 public:
  Files() {
    std::string name = (std::filesystem::temp_directory_path() / "children_test.XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "no temporary folder";
    folder_ = name;
  }
  ~Files() { std::filesystem::remove_all(folder_); }
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;

  std::string folder() const { return folder_.string(); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  std::string write(const std::string& name, const std::string& text, mode_t mode = 0755) const {
    std::ofstream(path(name), std::ios::binary) << text;
    EXPECT_EQ(0, chmod(path(name).c_str(), mode));
    return path(name);
  }
  std::string copy(const std::string& from, const std::string& name) const {
    std::filesystem::copy_file(from, path(name));
    return path(name);
  }
  std::string link(const std::string& to, const std::string& name) const {
    std::filesystem::create_symlink(to, path(name));
    return path(name);
  }

 private:
  std::filesystem::path folder_;
};

inline std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// This test itself: native, dynamically linked, no Python.
inline std::string own_program() {
  return std::filesystem::read_symlink("/proc/self/exe").string();
}

}  // namespace oomguard::children
