// Asks for the machine's memory in every spelling there is and prints what was answered, one line each:
// name, MemTotal and MemAvailable in KiB. What must hold bare and guarded ends the program where it does not.
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include <fstream>
#include <iterator>
#include <string>

#include "program.h"

extern "C" int __open_2(const char* path, int flags);
extern "C" int __open64_2(const char* path, int flags);
extern "C" int __openat_2(int folder, const char* path, int flags);
extern "C" int __openat64_2(int folder, const char* path, int flags);
extern "C" ssize_t __pread_chk(int fd, void* data, size_t size, off_t offset, size_t room);
extern "C" ssize_t __pread64_chk(int fd, void* data, size_t size, off64_t offset, size_t room);

namespace {

constexpr char kPath[] = "/proc/meminfo";

long field(const std::string& text, const char* key) {
  const size_t at = text.find(key);
  return at == std::string::npos ? -1 : strtol(text.c_str() + at + strlen(key), nullptr, 10);
}

void show(const char* name, const std::string& text) {
  say("%s %ld %ld", name, field(text, "MemTotal:"), field(text, "MemAvailable:"));
}

std::string all_of(int fd) {
  std::string text;
  char part[700];  // as other readers do, not in one piece
  for (ssize_t got; (got = read(fd, part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(got));
  return text;
}

std::string all_of(FILE* stream) {
  std::string text;
  char line[256];
  while (fgets(line, sizeof line, stream) != nullptr) text += line;
  return text;
}

// A descriptor has the number and the flag that it has without a view, and errno stays.
template <typename Open>
void through(const char* name, Open open_it) {
  const int lowest = dup(0);
  close(lowest);
  errno = 4242;
  const int fd = open_it();
  EXPECT(fd == lowest && errno == 4242);
  show(name, all_of(fd));
  close(fd);
}

void spellings() {
  through("open", [] { return open(kPath, O_RDONLY); });
  through("open64", [] { return open64("//proc/meminfo", O_RDONLY | O_NONBLOCK); });
  through("openat", [] { return openat(AT_FDCWD, "/proc/self/../meminfo", O_RDONLY); });
  const int folder = open("/proc", O_RDONLY | O_DIRECTORY);
  through("openat64", [=] { return openat64(folder, "meminfo", O_RDONLY); });
  through("__open_2", [] { return __open_2(kPath, O_RDONLY); });
  through("__open64_2", [] { return __open64_2(kPath, O_RDONLY); });
  through("__openat_2", [=] { return __openat_2(folder, "meminfo", O_RDONLY); });
  through("__openat64_2", [=] { return __openat64_2(folder, "./meminfo", O_RDONLY); });
  for (const int flag : {0, O_CLOEXEC}) {
    const int fd = open(kPath, O_RDONLY | flag);
    EXPECT(fcntl(fd, F_GETFD) == (flag != 0 ? FD_CLOEXEC : 0));
    close(fd);
  }
  close(folder);
  FILE* stream = fopen(kPath, "r");
  show("fopen", all_of(stream));
  stream = freopen(kPath, "re", stream);
  show("freopen", all_of(stream));
  stream = freopen64(kPath, "rm", stream);
  show("freopen64", all_of(stream));
  fclose(stream);
  stream = fopen64(kPath, "rb");
  show("fopen64", all_of(stream));
  fclose(stream);
  std::ifstream file(kPath);
  show("ifstream", {std::istreambuf_iterator<char>(file), {}});
}

// While `block` is filled less is available than before and after.
void read_again() {
  const int fd = open(kPath, O_RDONLY);
  FILE* stream = fopen(kPath, "r");
  show("first", all_of(fd));
  all_of(stream);
  constexpr size_t kSize = 64 << 20;
  void* block = malloc(kSize);
  fill(block, kSize, 1);
  EXPECT(lseek(fd, 0, SEEK_SET) == 0);
  show("lseek, filled", all_of(fd));
  char text[4096] = {};
  EXPECT(pread(fd, text, sizeof text - 1, 0) > 0);
  show("pread, filled", text);
  memset(text, 0, sizeof text);
  EXPECT(__pread_chk(fd, text, sizeof text - 1, 0, sizeof text) > 0);
  show("__pread_chk, filled", text);
  rewind(stream);
  show("rewind, filled", all_of(stream));
  EXPECT(fseeko(stream, 0, SEEK_SET) == 0);
  show("fseeko, filled", all_of(stream));
  EXPECT(holds(block, kSize, 1));
  free(block);
  EXPECT(lseek64(fd, 0, SEEK_SET) == 0);
  show("lseek64", all_of(fd));
  memset(text, 0, sizeof text);
  EXPECT(pread64(fd, text, sizeof text - 1, 0) > 0);
  show("pread64", text);
  memset(text, 0, sizeof text);
  EXPECT(__pread64_chk(fd, text, sizeof text - 1, 0, sizeof text) > 0);
  show("__pread64_chk", text);
  EXPECT(fseek(stream, 0, SEEK_SET) == 0);
  show("fseek", all_of(stream));
  EXPECT(fseeko64(stream, 0, SEEK_SET) == 0);
  show("fseeko64", all_of(stream));
  fclose(stream);
  const void* mapped = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
  if (mapped != MAP_FAILED) show("mmap", static_cast<const char*>(mapped));  // of the kernel's: ENODEV
  close(fd);
}

void counted_in_pages() {
  const long kib = sysconf(_SC_PAGESIZE) / 1024;
  say("sysconf %ld %ld", sysconf(_SC_PHYS_PAGES) * kib, sysconf(_SC_AVPHYS_PAGES) * kib);
  say("get_phys_pages %ld %ld", get_phys_pages() * kib, get_avphys_pages() * kib);
  struct sysinfo info;
  EXPECT(sysinfo(&info) == 0);
  const unsigned long unit = info.mem_unit;
  say("sysinfo %lu %lu", info.totalram * unit / 1024, info.freeram * unit / 1024);
  EXPECT(info.freeram + info.bufferram <= info.totalram && info.sharedram <= info.totalram);
  say("%ld of %d processors", sysconf(_SC_NPROCESSORS_ONLN), get_nprocs());
}

// Files that are called so and are none of the kernel's; a path that is none.
void others() {
  char folder[] = "/tmp/memory_view.XXXXXX";
  EXPECT(mkdtemp(folder) != nullptr);
  const std::string path = std::string(folder) + "/meminfo";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL, 0640);
  struct stat status;
  EXPECT(fd >= 0 && fstat(fd, &status) == 0 && (status.st_mode & 0777) == 0640);
  EXPECT(write(fd, "mine", 4) == 4 && lseek(fd, 0, SEEK_SET) == 0 && all_of(fd) == "mine");
  close(fd);
  unlink(path.c_str());
  rmdir(folder);
  EXPECT(open(path.c_str(), O_RDONLY) == -1 && errno == ENOENT);
  volatile long nowhere = 8;
  EXPECT(open(reinterpret_cast<const char*>(nowhere), O_RDONLY) == -1 && errno == EFAULT);
  EXPECT(fopen(path.c_str(), "r") == nullptr && errno == ENOENT);
  EXPECT(lseek(-1, 0, SEEK_SET) == -1 && errno == EBADF);
}

void* on_small_stack(void*) {
  const int fd = open(kPath, O_RDONLY);
  show("thread", all_of(fd));
  close(fd);
  return nullptr;
}

// Between vfork and exec.
void in_borrowed_memory() {
  static char text[4096];
  if (const pid_t child = vfork(); child == 0) {
    const int fd = open(kPath, O_RDONLY);
    _exit(read(fd, text, sizeof text - 1) > 0 && lseek(fd, 0, SEEK_SET) == 0 ? 0 : 1);
  } else {
    waitpid(child, nullptr, 0);
  }
  show("vfork", text);
}

void on_signal(int) {
  const int fd = open(kPath, O_RDONLY);
  char text[64];
  if (read(fd, text, sizeof text) != sizeof text || lseek(fd, 0, SEEK_SET) != 0) _exit(97);
  close(fd);
}

void elsewhere() {
  const int fd = open(kPath, O_RDONLY);
  const pid_t child = fork();
  if (child == 0) {
    lseek(fd, 0, SEEK_SET);
    show("child", all_of(open(kPath, O_RDONLY)));
    show("inherited", all_of(fd));
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  in_borrowed_memory();
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN);
  EXPECT(pthread_create(&thread, &attributes, on_small_stack, nullptr) == 0);
  pthread_join(thread, nullptr);
  static char small[8192];
  const stack_t stack{.ss_sp = small, .ss_flags = 0, .ss_size = sizeof small};
  sigaltstack(&stack, nullptr);
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR1, &action, nullptr);
  raise(SIGUSR1);
}

}  // namespace

int main() {
  spellings();
  read_again();
  counted_in_pages();
  others();
  elsewhere();
  return 0;
}
