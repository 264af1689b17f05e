#include "collector/record/own_code.h"

#include <gtest/gtest.h>

namespace oomguard::record {
namespace {

TEST(OwnCodeTest, IsNeitherALibrarysNorTheInterpreters) {
  for (const char* own : {"/home/ada/train.py", "<string>", "train.py", "/tmp/ipykernel_7/1.py",
                          "/home/ada/python3.11/train.py", "/srv/lib/python/x.py"}) {
    EXPECT_TRUE(is_own_code(own)) << own;
  }
  for (const char* library :
       {"/usr/lib/python3/dist-packages/yaml.py",
        "/home/ada/venv/lib/python3.11/site-packages/x.py", "/usr/lib/python3.11/json/decoder.py",
        "/opt/py/lib64/python3.9/os.py", "/usr/lib/python311.zip/os.py",
        "/opt/lib/python3.13t/os.py", "<frozen runpy>", "<oomguard boot>",
        "<attrs generated init x.Y>", ""}) {
    EXPECT_FALSE(is_own_code(library)) << library;
  }
}

}  // namespace
}  // namespace oomguard::record
