#include "shim/children/policy.h"

#include <gtest/gtest.h>

namespace oomguard::children {
namespace {

using options::Children;

TEST(Decide, DropsEverythingWithNone) {
  for (Program program : {Program::kOther, Program::kPython, Program::kLauncher, Program::kForeign,
                          Program::kStatic, Program::kPrivileged}) {
    EXPECT_EQ(Verdict::kDrop, decide(Children::kNone, program));
  }
}

TEST(Decide, KeepsPythonAndWhatMayStartItByDefault) {
  EXPECT_EQ(Verdict::kKeep, decide(Children::kPython, Program::kPython));
  EXPECT_EQ(Verdict::kKeep, decide(Children::kPython, Program::kLauncher));
  EXPECT_EQ(Verdict::kKeep, decide(Children::kPython, Program::kPrivileged));
  EXPECT_EQ(Verdict::kDrop, decide(Children::kPython, Program::kOther));
}

TEST(Decide, KeepsOtherProgramsOnlyWithAll) {
  EXPECT_EQ(Verdict::kKeep, decide(Children::kAll, Program::kOther));
}

TEST(Decide, DropsWhatCannotLoadTheShimEvenWithAll) {
  EXPECT_EQ(Verdict::kDrop, decide(Children::kAll, Program::kForeign));
  EXPECT_EQ(Verdict::kDrop, decide(Children::kAll, Program::kStatic));
  EXPECT_EQ(Verdict::kDrop, decide(Children::kPython, Program::kForeign));
}

TEST(ClassifyName, KnowsInterpretersInAllTheirSpellings) {
  for (const char* name : {"python", "python3", "/usr/bin/python3.11", "./python3.13t", "pypy3",
                           "ipython", "/opt/venv/bin/jupyter-lab", "jupyter"}) {
    EXPECT_EQ(Program::kPython, classify_name(name)) << name;
  }
}

TEST(ClassifyName, KnowsLaunchers) {
  for (const char* name : {"sh", "/bin/bash", "-bash", "env", "/usr/bin/timeout", "srun", "mpirun",
                           "torchrun", "raylet", "micromamba", "uv", "tini", "xargs"}) {
    EXPECT_EQ(Program::kLauncher, classify_name(name)) << name;
  }
}

TEST(ClassifyName, TakesNothingElseForALauncher) {
  for (const char* name : {"", "/", "git", "gcc", "nvcc", "ls", "shred", "envsubst", "/usr/bin/",
                           "mypython", "/python3/bin/node", "timeouts", "-"}) {
    EXPECT_EQ(Program::kOther, classify_name(name)) << name;
  }
}

TEST(Shebang, SplitsInterpreterAndOneArgument) {
  Shebang shebang;
  ASSERT_TRUE(parse_shebang("#!/usr/bin/python3 -I -u \nimport os\n", &shebang));
  EXPECT_EQ("/usr/bin/python3", shebang.interpreter);
  EXPECT_EQ("-I -u", shebang.argument);
}

TEST(Shebang, AcceptsBlanksAndAMissingNewline) {
  Shebang shebang;
  ASSERT_TRUE(parse_shebang("#! \t/bin/sh", &shebang));
  EXPECT_EQ("/bin/sh", shebang.interpreter);
  EXPECT_EQ("", shebang.argument);
}

TEST(Shebang, RefusesWhatIsNone) {
  Shebang shebang;
  EXPECT_FALSE(parse_shebang("", &shebang));
  EXPECT_FALSE(parse_shebang("#", &shebang));
  EXPECT_FALSE(parse_shebang("#!", &shebang));
  EXPECT_FALSE(parse_shebang("#!  \n/bin/sh\n", &shebang));
  EXPECT_FALSE(parse_shebang("# !/bin/sh", &shebang));
}

TEST(EnvProgram, FindsTheNameAmongOptionsAndAssignments) {
  EXPECT_EQ("python3", env_program("python3"));
  EXPECT_EQ("python3", env_program("-S python3 -u"));
  EXPECT_EQ("python3", env_program("-Spython3 -u"));
  EXPECT_EQ("node", env_program("-i -u PATH A=b C= node --flag"));
  EXPECT_EQ("bash", env_program("-C /tmp bash"));
  EXPECT_EQ("", env_program(""));
  EXPECT_EQ("", env_program("-S"));
}

}  // namespace
}  // namespace oomguard::children
