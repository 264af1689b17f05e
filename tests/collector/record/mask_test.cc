#include "collector/record/mask.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace oomguard::record {
namespace {

std::string masked(const std::vector<std::string>& arguments) {
  std::string bytes;
  for (const std::string& argument : arguments) bytes += argument + '\0';
  char out[1024];
  return std::string(out, mask_command(bytes.data(), bytes.size(), out, sizeof(out)));
}

TEST(MaskCommand, KeepsWhatIsNoSecret) {
  EXPECT_EQ(masked({"python3", "train.py", "--epochs=3", "-f", "/run/kernel-1.json"}),
            "python3 train.py --epochs=3 -f /run/kernel-1.json");
  EXPECT_EQ(masked({"python3", "-m", "http.server", "8000"}), "python3 -m http.server 8000");
  EXPECT_EQ(masked({"sh", "-c", "cat https://host/path:80/x"}), "sh -c cat https://host/path:80/x");
}

TEST(MaskCommand, MasksValuesBehindSecretNames) {
  EXPECT_EQ(masked({"x", "--token=abc def"}), "x --token=***");
  EXPECT_EQ(masked({"x", "--hf-token", "abc", "next"}), "x --hf-token *** next");
  EXPECT_EQ(masked({"x", "--password", "--verbose"}), "x --password --verbose");
  EXPECT_EQ(masked({"env", "API_KEY=abc", "AWS_SECRET_ACCESS_KEY=a/b+c", "prog"}),
            "env API_KEY=*** AWS_SECRET_ACCESS_KEY=*** prog");
  EXPECT_EQ(masked({"x", "--IdentityProvider.Token=abc"}), "x --IdentityProvider.Token=***");
}

TEST(MaskCommand, MasksInsideCodeAndAddresses) {
  EXPECT_EQ(masked({"python3", "-c", "login(token = 'abc'); run()"}),
            "python3 -c login(token = '***'); run()");
  EXPECT_EQ(masked({"curl", "http://h/?token=abc&x=1"}), "curl http://h/?token=***&x=1");
  EXPECT_EQ(masked({"x", "{\"password\": \"abc\", \"n\": 1}"}),
            "x {\"password\": \"***\", \"n\": 1}");
  EXPECT_EQ(masked({"git", "clone", "https://me:hunter2@host/r"}),
            "git clone https://me:***@host/r");
}

TEST(MaskCommand, MasksWellKnownAccessTokensAnywhere) {
  EXPECT_EQ(masked({"hub", "login", "hf_abcdefghijklmnopqrstuv"}), "hub login ***");
  EXPECT_EQ(masked({"x", "hf_transfer"}), "x hf_transfer");
}

TEST(MaskCommand, ReplacesControlCharacters) {
  EXPECT_EQ(masked({"python3", "-c", "a\nb\x1b[2J"}), "python3 -c a b [2J");
}

TEST(MaskCommand, TakesACutLastArgumentAndEveryCapacity) {
  const std::string bytes("python3\0--token=abc", 19);
  char out[64];
  EXPECT_EQ(mask_command(bytes.data(), bytes.size(), out, sizeof(out)), 19u);
  EXPECT_STREQ(out, "python3 --token=***");
  for (size_t capacity = 0; capacity < 20; ++capacity) {
    std::string small(24, '#');
    mask_command(bytes.data(), bytes.size(), small.data(), capacity);
    EXPECT_EQ(small.find_first_not_of('#', capacity), std::string::npos) << capacity;
  }
  EXPECT_EQ(mask_command(bytes.data(), 0, out, sizeof(out)), 0u);
}

}  // namespace
}  // namespace oomguard::record
