#include "shim/children/inspect.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/shim/children/files.h"

namespace oomguard::children {
namespace {

Program inspect_path(const std::string& path) { return inspect({.path = path.c_str()}, nullptr); }

Program search(const std::string& name, const std::string& path_variable) {
  return inspect({.path = name.c_str(), .search_path = true}, path_variable.c_str());
}

TEST(Inspect, KnowsProgramsByNameAndByContents) {
  const Files files;
  EXPECT_EQ(Program::kOther, inspect_path(files.copy(own_program(), "editor")));
  EXPECT_EQ(Program::kPython, inspect_path(files.copy(own_program(), "python3")));
  EXPECT_EQ(Program::kLauncher, inspect_path(files.copy(own_program(), "bash")));
  EXPECT_EQ(Program::kPython, inspect_path(files.copy(OOMGUARD_EMBEDDED_PYTHON, "worker")));
}

TEST(Inspect, LooksThroughSymbolicLinks) {
  const Files files;
  const std::string python = files.copy(own_program(), "python3.11");
  EXPECT_EQ(Program::kPython, inspect_path(files.link(python, "my-interpreter")));
  EXPECT_EQ(Program::kPython, inspect_path(files.link(own_program(), "python")));
}

TEST(Inspect, FollowsTheInterpreterOfAScript) {
  const Files files;
  const std::string python = files.copy(own_program(), "python3");
  const std::string other = files.copy(own_program(), "awk");
  EXPECT_EQ(Program::kPython, inspect_path(files.write("tool", "#!" + python + " -I\nx\n")));
  EXPECT_EQ(Program::kOther, inspect_path(files.write("report", "#!" + other + " -f\nx\n")));
  EXPECT_EQ(Program::kLauncher, inspect_path(files.write("start", "#!/bin/sh\nexec x\n")));
  const std::string inner = files.path("tool");
  EXPECT_EQ(Program::kPython, inspect_path(files.write("outer", "#!" + inner + "\nx\n")));
}

TEST(Inspect, FollowsEnvToTheProgramItStarts) {
  const Files files;
  files.copy(own_program(), "python3");
  files.copy(own_program(), "node");
  files.copy(OOMGUARD_EMBEDDED_PYTHON, "worker");
  const std::string path = "/nonexistent:" + files.folder();
  files.write("a", "#!/usr/bin/env python3\n");
  files.write("b", "#!/usr/bin/env -S node --flag\n");
  files.write("c", "#!/usr/bin/env worker\n");
  files.write("d", "#!/usr/bin/env python3-that-is-missing\n");
  files.write("e", "#!/usr/bin/env\n");
  EXPECT_EQ(Program::kPython, search("a", path));
  EXPECT_EQ(Program::kOther, search("b", path));
  EXPECT_EQ(Program::kPython, search("c", path));
  EXPECT_EQ(Program::kPython, search("d", path));
  EXPECT_EQ(Program::kLauncher, search("e", "/usr/bin:" + path));
}

TEST(Inspect, CountsTheNameOfAScriptToo) {
  const Files files;
  const std::string perl = files.copy(own_program(), "perl");
  EXPECT_EQ(Program::kLauncher, inspect_path(files.write("parallel", "#!" + perl + "\n")));
  // A pyenv shim: a shell script under the interpreter's name.
  EXPECT_EQ(Program::kPython, inspect_path(files.write("python3.9", "#!/bin/sh\n")));
}

TEST(Inspect, NeverBelievesANameOverAForeignFile) {
  const Files files;
  std::string bytes = contents(own_program());
  bytes[4] = 1;  // ELFCLASS32
  const std::string narrow = files.write("python3", bytes);
  EXPECT_EQ(Program::kForeign, inspect_path(narrow));
  EXPECT_EQ(Program::kForeign, inspect_path(files.write("python", "#!" + narrow + "\n")));
}

#ifdef OOMGUARD_STATIC_CHILD
TEST(Inspect, TellsStaticLaunchersFromOtherStaticPrograms) {
  const Files files;
  EXPECT_EQ(Program::kStatic, inspect_path(OOMGUARD_STATIC_CHILD));
  EXPECT_EQ(Program::kLauncher, inspect_path(files.copy(OOMGUARD_STATIC_CHILD, "micromamba")));
}
#endif

TEST(Inspect, LeavesSetuidProgramsAlone) {
  const Files files;
  const std::string path = files.copy(own_program(), "mount");
  ASSERT_EQ(0, chmod(path.c_str(), 04755));
  EXPECT_EQ(Program::kPrivileged, inspect_path(path));
}

TEST(Inspect, JudgesByNameWhatItCannotRead) {
  const Files files;
  EXPECT_EQ(Program::kPython, inspect_path(files.path("python3")));
  EXPECT_EQ(Program::kOther, inspect_path(files.path("missing")));
  EXPECT_EQ(Program::kOther, inspect_path(files.folder()));
  EXPECT_EQ(Program::kPython, search("python3", "/nonexistent"));
  EXPECT_EQ(Program::kOther, search("", "/bin"));
}

TEST(Inspect, DoesNotOpenWhatIsNoFile) {
  const Files files;
  const std::string fifo = files.path("fifo");
  ASSERT_EQ(0, mkfifo(fifo.c_str(), 0700));
  EXPECT_EQ(Program::kOther, inspect_path(fifo));  // opening it would wait for a writer
}

TEST(Inspect, TakesTextWithoutAFormatForAShellScript) {
  const Files files;
  EXPECT_EQ(Program::kLauncher, inspect_path(files.write("script", "exec python3\n")));
  EXPECT_EQ(Program::kOther, inspect_path(files.write("data", std::string("PK\0\0", 4))));
}

TEST(Inspect, SearchesPathAsExecvpDoes) {
  const Files files;
  std::filesystem::create_directory(files.path("first"));
  std::filesystem::create_directory(files.path("second"));
  files.write("first/tool", "#!/bin/sh\n", 0644);  // not executable: the next one counts
  std::filesystem::create_directory(files.path("first/other"));
  const std::string other = files.copy(own_program(), "second/other");
  files.copy(OOMGUARD_EMBEDDED_PYTHON, "second/tool");
  const std::string path = files.path("first") + ":" + files.path("second");
  EXPECT_EQ(Program::kPython, search("tool", path));
  EXPECT_EQ(Program::kOther, search("other", path));
  EXPECT_EQ(Program::kOther, search(other, "/nonexistent"));
  EXPECT_EQ(Program::kLauncher, inspect({.path = "sh", .search_path = true}, nullptr));
}

TEST(Inspect, EndsOnScriptsThatRunEachOther) {
  const Files files;
  files.write("a", "#!" + files.path("b") + "\n");
  files.write("b", "#!" + files.path("a") + "\n");
  EXPECT_EQ(Program::kOther, inspect_path(files.path("a")));
}

TEST(Inspect, SurvivesPathsThatAreTooLong) {
  const std::string endless(8000, 'x');
  EXPECT_EQ(Program::kOther, inspect_path("/" + endless));
  EXPECT_EQ(Program::kOther, search("tool", endless + ":" + endless));
  const Files files;
  EXPECT_EQ(Program::kOther, inspect_path(files.write("s", "#!/" + endless + "\n")));
}

TEST(Inspect, TakesADescriptorForAFile) {
  const Files files;
  const std::string path = files.copy(OOMGUARD_EMBEDDED_PYTHON, "worker");
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const int only_a_path = open(path.c_str(), O_PATH | O_CLOEXEC);
  const int folder = open(files.folder().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  EXPECT_EQ(Program::kPython, inspect({.directory_fd = fd}, nullptr));
  EXPECT_EQ(Program::kPython, inspect({.path = "", .directory_fd = only_a_path}, nullptr));
  EXPECT_EQ(Program::kPython, inspect({.path = "worker", .directory_fd = folder}, nullptr));
  EXPECT_EQ(Program::kOther, inspect({.directory_fd = -1}, nullptr));
  for (int open_fd : {fd, only_a_path, folder}) close(open_fd);
}

TEST(Inspect, LeavesNoDescriptorOpen) {
  const int before = dup(0);
  ASSERT_GE(before, 0);
  close(before);
  (void)inspect_path(own_program());
  (void)inspect({.path = "sh", .search_path = true}, "/bin:/usr/bin");
  const int after = dup(0);
  EXPECT_EQ(before, after);
  close(after);
}

}  // namespace
}  // namespace oomguard::children
