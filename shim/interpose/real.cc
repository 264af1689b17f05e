#include "shim/interpose/real.h"

#include <errno.h>
#include <link.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include <atomic>

#include "collector/probe/syscall.h"
#include "shim/budget/block_filter.h"
#include "shim/core/dl.h"
#include "shim/interpose/bootstrap_arena.h"
#include "shim/interpose/loader.h"

// libc's own names: of sbrk, which keeps the break in a variable, and of sysconf, where a system
// call would not do.
extern "C" void* __sbrk(intptr_t increment) noexcept;  // NOLINT: libc's name
extern "C" long __sysconf(int name) noexcept;          // NOLINT

namespace oomguard {
namespace {

enum State : uint32_t { kFresh, kResolving, kResolved };
constinit std::atomic<uint32_t> g_state{kFresh};
constinit bool g_allocator_is_libc = false;

void* early_block(size_t size, size_t alignment) noexcept {
  void* block = interpose::bootstrap_allocate(size, alignment);
  if (block == nullptr) {
    errno = ENOMEM;
    return nullptr;
  }
  budget::block_filter.add(block);  // sends its free and realloc to their slow paths
  return block;
}

// First entries of the hot functions: resolve, then go on with the real one. In the middle of
// resolving (dlsym allocates), the bootstrap arena answers.
bool ready() noexcept {
  if (g_state.load(std::memory_order_acquire) == kFresh) interpose::resolve();
  return g_state.load(std::memory_order_acquire) == kResolved;
}
void* early_malloc(size_t size) noexcept {
  return ready() ? real.malloc(size) : early_block(size, 16);
}
void* early_calloc(size_t count, size_t size) noexcept {
  if (ready()) return real.calloc(count, size);
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) return nullptr;
  return early_block(total, 16);
}
void* early_realloc(void* old, size_t size) noexcept {
  if (ready()) return real.realloc(old, size);
  void* block = early_block(size, 16);
  if (block != nullptr && old != nullptr && interpose::in_bootstrap_arena(old)) {
    const size_t before = interpose::bootstrap_size(old);
    memcpy(block, old, before < size ? before : size);
  }
  return block;
}
void early_free(void* pointer) noexcept {
  if (ready()) real.free(pointer);
}
size_t early_usable_size(void* pointer) noexcept {
  return ready() ? real.malloc_usable_size(pointer) : 0;
}

// The map family's, write and what reads the kernel's files are system calls: an allocator that is
// preloaded before this library maps memory (or complains, or asks what the machine is) while it
// starts, and dlsym would ask that same allocator for some.
template <typename Result>
Result answer(long result) noexcept {
  if (result < 0 && result > -4096) {
    errno = static_cast<int>(-result);
    result = -1;
  }
  return (Result)result;  // NOLINT: a pointer or an int
}
void* early_mmap(void* hint, size_t size, int protection, int flags, int fd,
                 off_t offset) noexcept {
  return answer<void*>(sys::call(SYS_mmap, sys::as_arg(hint), static_cast<long>(size), protection,
                                 flags, fd, offset));
}
int early_munmap(void* address, size_t size) noexcept {
  return answer<int>(sys::call(SYS_munmap, sys::as_arg(address), static_cast<long>(size)));
}
void* early_mremap(void* old, size_t old_size, size_t size, int flags, ...) noexcept {
  void* target = nullptr;
  if ((flags & MREMAP_FIXED) != 0) {
    va_list list;
    va_start(list, flags);
    target = va_arg(list, void*);
    va_end(list);
  }
  return answer<void*>(sys::call(SYS_mremap, sys::as_arg(old), static_cast<long>(old_size),
                                 static_cast<long>(size), flags, sys::as_arg(target)));
}
int early_mprotect(void* address, size_t size, int protection) noexcept {
  return answer<int>(
      sys::call(SYS_mprotect, sys::as_arg(address), static_cast<long>(size), protection));
}
int early_madvise(void* address, size_t size, int advice) noexcept {
  return answer<int>(sys::call(SYS_madvise, sys::as_arg(address), static_cast<long>(size), advice));
}
ssize_t early_write(int fd, const void* data, size_t size) {
  return answer<ssize_t>(sys::write(fd, data, size));
}

int early_openat(int folder, const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const auto mode = va_arg(list, mode_t);  // the hook passes one always
  va_end(list);
  return answer<int>(sys::call(SYS_openat, folder, sys::as_arg(path), flags, mode));
}
int early_open(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const auto mode = va_arg(list, mode_t);
  va_end(list);
  return early_openat(AT_FDCWD, path, flags, mode);
}
off64_t early_lseek(int fd, off64_t offset, int whence) noexcept {
  return answer<off64_t>(sys::call(SYS_lseek, fd, offset, whence));
}
ssize_t early_pread(int fd, void* data, size_t size, off64_t offset) {
  return answer<ssize_t>(sys::pread(fd, data, size, offset));
}

int early_open_2(const char* path, int flags) { return early_open(path, flags, mode_t{0}); }
int early_openat_2(int folder, const char* path, int flags) {
  return early_openat(folder, path, flags, mode_t{0});
}
int early_sysinfo(struct sysinfo* info) noexcept {
  return answer<int>(sys::call(SYS_sysinfo, sys::as_arg(info)));
}
long early_phys_pages() noexcept { return __sysconf(_SC_PHYS_PAGES); }
long early_avphys_pages() noexcept { return __sysconf(_SC_AVPHYS_PAGES); }
// Streams need memory. Nobody can have one yet.
FILE* early_fopen(const char*, const char*) {
  errno = ENOMEM;
  return nullptr;
}

constexpr Real kUnresolved = [] {
  Real table{};
  table.malloc = early_malloc;
  table.calloc = early_calloc;
  table.realloc = early_realloc;
  table.free = early_free;
  table.malloc_usable_size = early_usable_size;
  table.mmap = early_mmap;
  table.munmap = early_munmap;
  table.mremap = early_mremap;
  table.mprotect = early_mprotect;
  table.madvise = early_madvise;
  table.write = early_write;
  table.sbrk = __sbrk;
  table.open = table.open64 = early_open;
  table.openat = table.openat64 = early_openat;
  table.lseek64 = early_lseek;
  table.pread64 = early_pread;
  table.sysconf = __sysconf;
  table.__open_2 = table.__open64_2 = early_open_2;
  table.__openat_2 = table.__openat64_2 = early_openat_2;
  table.sysinfo = early_sysinfo;
  table.get_phys_pages = early_phys_pages;
  table.get_avphys_pages = early_avphys_pages;
  table.fopen = table.fopen64 = early_fopen;
  return table;
}();

// A name that is not there makes dlsym allocate its complaint, from an allocator that may stand
// before this library and be in the middle of its own start. cfree is gone from glibc 2.26 on.
void* next(const char* name) noexcept {
  return strcmp(name, "cfree") == 0 ? nullptr : interpose::next_dlsym(RTLD_NEXT, name);
}

// An allocator without that function (Electric Fence): libc's would read a header that is not
// there.
size_t unknown_usable_size(void*) noexcept { return 0; }

bool in_one_object(void* one, void* other) noexcept {
  Dl_info a;
  Dl_info b;
  return dladdr(one, &a) != 0 && dladdr(other, &b) != 0 && a.dli_fbase == b.dli_fbase;
}

bool belongs_to_libc(void* function) noexcept {
  Dl_info info;
  if (dladdr(function, &info) == 0 || info.dli_fname == nullptr) return false;
  const char* slash = strrchr(info.dli_fname, '/');
  const char* base = slash != nullptr ? slash + 1 : info.dli_fname;
  return strncmp(base, "libc.so", 7) == 0 || strncmp(base, "libc-2.", 7) == 0;
}

}  // namespace

constinit Real real = kUnresolved;

namespace interpose {

void resolve() noexcept {
  uint32_t expected = kFresh;
  if (!g_state.compare_exchange_strong(expected, kResolving, std::memory_order_acq_rel)) return;
  const int saved_errno = errno;
  Real table{};
#define OOMGUARD_HOOK(family, name, result, parameters) \
  table.name = reinterpret_cast<decltype(table.name)>(next(#name));
#include "shim/interpose/hooks.def"
#undef OOMGUARD_HOOK
  table.cfree = table.free;
  if (!in_one_object(reinterpret_cast<void*>(table.malloc),
                     reinterpret_cast<void*>(table.malloc_usable_size))) {
    table.malloc_usable_size = unknown_usable_size;
  }
  real = table;
  g_allocator_is_libc = belongs_to_libc(reinterpret_cast<void*>(table.malloc));
  g_state.store(kResolved, std::memory_order_release);
  errno = saved_errno;
}

bool resolved() noexcept { return g_state.load(std::memory_order_acquire) == kResolved; }

bool allocator_is_libc() noexcept { return g_allocator_is_libc; }

}  // namespace interpose
}  // namespace oomguard
