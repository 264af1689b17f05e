// Throws C++ exceptions into, out of and through two libraries that are opened and closed meanwhile, in two
// threads. What unwinds allocates and frees on its way: with samples close to each other (OOMGUARD_SAMPLE) call
// stacks are read in the middle of it.
#include <dlfcn.h>

#include <exception>
#include <stdexcept>
#include <string>
#include <thread>

#include "program.h"

namespace {

using Callback = void (*)(int);

struct Library {
  explicit Library(const char* path) : handle(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    EXPECT(handle != nullptr);
    call_through = reinterpret_cast<void (*)(Callback, int, int)>(dlsym(handle, "call_through"));
    fail = reinterpret_cast<void (*)(int, int)>(dlsym(handle, "fail"));
    length_of_error = reinterpret_cast<int (*)(Callback, int)>(dlsym(handle, "length_of_error"));
    EXPECT(call_through != nullptr && fail != nullptr && length_of_error != nullptr);
  }
  ~Library() { EXPECT(dlclose(handle) == 0); }

  void* handle;
  void (*call_through)(Callback, int depth, int value);
  void (*fail)(int depth, int value);
  int (*length_of_error)(Callback, int value);
};

[[noreturn]] void throw_it(int value) { throw std::out_of_range("no " + std::string(value % 300, 'x')); }

// The length of the text that arrives, or a number that none has.
template <typename Call>
int caught(Call call) {
  try {
    call();
  } catch (const std::logic_error& error) {
    return static_cast<int>(strlen(error.what()));
  }
  return 1000;
}

void run(const char* path, long* sum) {
  for (int round = 0; round < 60; ++round) {
    const Library library(path);
    for (int i = 0; i < 60; ++i) {
      *sum += caught([&] { library.call_through(throw_it, i % 30, i * 7); });
      *sum += caught([&] { library.fail(i % 30, i); });
      *sum += library.length_of_error(throw_it, i * 7);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  EXPECT(argc == 3);
  long sums[2] = {};
  std::thread other(run, argv[1], &sums[0]);
  run(argv[2], &sums[1]);
  other.join();
  say("%d exceptions, their texts %ld and %ld long", 2 * 60 * 60 * 3, sums[0], sums[1]);
  return 0;
}
