// The tools as they are built where libdw is missing.
#include <gtest/gtest.h>

#include "collector/symbolize/symbolizer.h"

namespace oomguard::symbolize {
namespace {

TEST(SymbolsWithoutLibdw, AreNone) {
  EXPECT_FALSE(is_available());
  Symbolizer symbolizer;
  EXPECT_TRUE(symbolizer.at("/proc/self/exe", std::vector<uint8_t>(20), 4096).empty());
}

}  // namespace
}  // namespace oomguard::symbolize
