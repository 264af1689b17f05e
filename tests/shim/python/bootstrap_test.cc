#include "shim/python/bootstrap.h"

#include <gtest/gtest.h>

namespace oomguard::python {
namespace {

// The test program is none of Python's, so that the whole of it must come to nothing.
TEST(Bootstrap, AProgramWithoutAnInterpreterIsLeftAlone) {
  EXPECT_EQ(state(), State::kNotPython);
  detect();
  EXPECT_EQ(state(), State::kNotPython);
  on_slow_path(true);
  on_slow_path(false);
  on_fork_child();
  EXPECT_EQ(state(), State::kNotPython);
}

}  // namespace
}  // namespace oomguard::python
