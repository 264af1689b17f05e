#include "shim/children/children.h"

#include <unistd.h>

#include <atomic>

#include "shim/children/environment.h"
#include "shim/children/scratch.h"

namespace oomguard::children {
namespace {

constinit std::atomic<const char*> g_library_path{nullptr};

}  // namespace

void set_library_path(const char* path) noexcept {
  g_library_path.store(path, std::memory_order_release);
  remember_process();
}

const char* library_path() noexcept { return g_library_path.load(std::memory_order_acquire); }

size_t drop_bytes(options::Children mode, const Target& target, const char* const* envp) noexcept {
  // The environment first: most programs never exec with us in it, and a look at strings is cheaper
  // than opening a file.
  const char* library = library_path();
  if (library == nullptr) return 0;
  const size_t bytes = scratch_bytes(envp, library);
  if (bytes == 0 || mode == options::Children::kNone) return bytes;
  const Program program = inspect(target, find_variable(environ, "PATH"));
  return decide(mode, program) == Verdict::kDrop ? bytes : 0;
}

char* const* drop(char* const* envp, void* scratch, size_t bytes) noexcept {
  return without_library(envp, library_path(), scratch, bytes);
}

}  // namespace oomguard::children
