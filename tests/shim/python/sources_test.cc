#include "shim/python/sources.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

namespace oomguard::python {
namespace {

TEST(Sources, AreTheFilesOfTheFolder) {
  for (const char* name : {"boot", "api", "surface", "release", "alarm", "ipython", "page",
                           "successor", "magics", "variables", "kernels", "limits", "progress",
                           "advice"}) {
    const Source* source = find_source(name);
    ASSERT_NE(source, nullptr) << name;
    std::ifstream file(std::string(OOMGUARD_PYTHON_SOURCES) + "/" + name + ".py");
    const std::string expected{std::istreambuf_iterator<char>(file), {}};
    EXPECT_FALSE(expected.empty());
    EXPECT_EQ(std::string(source->text, source->size), expected) << name;
    EXPECT_EQ(strlen(source->text), source->size) << name;
  }
  EXPECT_EQ(kSourceCount, 14u);
}

TEST(Sources, UnknownNameIsNull) { EXPECT_EQ(find_source("bo"), nullptr); }

}  // namespace
}  // namespace oomguard::python
