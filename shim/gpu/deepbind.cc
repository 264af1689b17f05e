#include "shim/gpu/deepbind.h"

#include <string.h>
#include <sys/mman.h>

#include <initializer_list>

#include "collector/probe/syscall.h"
#include "shim/core/dl.h"

namespace oomguard::gpu {
namespace {

constexpr char kDriver[] = "libcuda.so";
constexpr size_t kMostRead = size_t{256} << 20;  // a framework's library may be some GB

bool has_driver_name(const char* path) noexcept {
  const int fd = sys::open(path, O_RDONLY | O_NONBLOCK);
  if (fd < 0) return false;
  struct stat status;
  const bool is_file = sys::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  const size_t size = !is_file ? 0
                      : status.st_size < static_cast<off_t>(kMostRead)
                          ? static_cast<size_t>(status.st_size)
                          : kMostRead;
  const auto length = static_cast<long>(size);
  const long text =
      size != 0 ? sys::call(SYS_mmap, 0, length, PROT_READ, MAP_PRIVATE, fd, 0) : 0;
  sys::close(fd);
  if (size == 0 || (text < 0 && text > -4096)) return false;
  const bool has =
      memmem(reinterpret_cast<void*>(text), size, kDriver, sizeof kDriver - 1) != nullptr;
  sys::call(SYS_munmap, text, length);
  return has;
}

// NVIDIA's own, which are found by the search path.
bool is_of_nvidia(const char* file) noexcept {
  for (const char* start : {"libcu", "libnv", "libnccl"}) {
    if (strncmp(file, start, strlen(start)) == 0) return true;
  }
  return false;
}

}  // namespace

int without_deepbind(const char* path, int flags) noexcept {
  if (path == nullptr) return flags;
  const bool brings = strchr(path, '/') != nullptr ? has_driver_name(path) : is_of_nvidia(path);
  return brings ? flags & ~RTLD_DEEPBIND : flags;
}

}  // namespace oomguard::gpu
