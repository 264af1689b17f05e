// Hooks of the files family: what makes a file grow that is memory (budget/memory_file.h). Refused
// as a full tmpfs refuses it: ENOSPC.
//
// Most writes go elsewhere, and `write` is the hottest call of many programs. So a thread looks at
// what it writes to only where the write is large or in parts, and once in every kLookEvery bytes;
// once a file in memory was met while there is little room, at each write until another file is
// met. write is called from signal handlers, on small stacks and between fork and exec: what runs
// before the kind of the file is known needs a few system calls and 400 bytes of stack.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

#include "collector/probe/readable.h"
#include "shim/budget/gate.h"
#include "shim/budget/memory_file.h"
#include "shim/core/signal_stack.h"
#include "shim/interpose/export.h"
#include "shim/interpose/real.h"

namespace oomguard::interpose {
namespace {

using budget::Admission;
using budget::Bytes;
using budget::MemoryFile;
using record::RequestKind;

#define OOMGUARD_COLD [[gnu::cold, gnu::noinline]]

constexpr size_t kLookFrom = 64 * 1024;
constexpr int64_t kLookEvery = 256 * 1024;
constexpr size_t kMostAtOnce = 0x7ffff000;  // the kernel writes no more in one call
constexpr Bytes kPlenty = 64 * budget::kMiB;

[[gnu::always_inline]] inline bool needs_no_look(size_t size) noexcept {
  if (size >= kLookFrom) [[unlikely]] return false;
  const int64_t left = thread_state.write_credit - static_cast<int64_t>(size);
  thread_state.write_credit = left;
  return left >= 0;
}

void give_credit(int64_t bytes) noexcept {
  thread_state.write_credit = bytes;
  thread_state.write_slice = bytes;
}

// 0: more than the kernel takes at all.
Bytes at_once(size_t size) noexcept {
  return size > SSIZE_MAX ? 0 : static_cast<Bytes>(std::min(size, kMostAtOnce));
}

bool is_off() noexcept { return budget::gate.mode() != budget::Gate::Mode::kOn; }

// Not always after the same number of bytes: a program that writes in turns to two files would
// always be looked at with the same one. (A linear congruential series: no call.)
int64_t next_look() noexcept {
  thread_state.write_dice = thread_state.write_dice * 1'664'525 + 1'013'904'223;
  return kLookEvery - static_cast<int64_t>(thread_state.write_dice >> 8) % (kLookEvery / 2);
}

bool may_judge() noexcept { return thread_state.in_slow_path == 0 && !on_signal_stack(); }

// True where `fd` is a file in memory that has to be judged.
bool look_at(int fd, MemoryFile* file) noexcept {
  if (is_off()) {
    const bool for_good = budget::gate.mode() == budget::Gate::Mode::kOff;
    give_credit(for_good ? INT64_MAX : 0);
    return false;
  }
  if (!file->look_at(fd)) {
    // What is left is kept: else small writes between large ones would never be looked at.
    if (thread_state.write_credit <= 0) give_credit(next_look());
    return false;
  }
  return may_judge();
}

// A call that makes a file grow by `growth` once it succeeds.
template <typename Result, typename Call>
Result judge(RequestKind kind, Bytes growth, const void* caller, Result refused, Call call) {
  if (growth <= 0) return call();
  const Admission admission(kind, static_cast<size_t>(growth), caller);
  if (!admission.granted()) {
    errno = ENOSPC;
    return refused;
  }
  return call();
}

template <typename Call>
ssize_t judge_write(Bytes growth, const void* caller, Call call) {
  // What was written without a look is counted as if all of it went here: on average that is right.
  const int64_t unseen = thread_state.write_slice - std::max<int64_t>(0, thread_state.write_credit);
  give_credit(budget::gate.has_plenty_for(kPlenty) ? next_look() : 0);
  const ssize_t written = judge(RequestKind::kFileWrite, growth, caller, ssize_t{-1}, call);
  if (growth > 0 && written > 0) budget::gate.count_file_growth(growth + unseen);
  return written;
}

OOMGUARD_COLD ssize_t cold_write(int fd, const void* data, size_t size, const void* caller) {
  MemoryFile file;
  if (!look_at(fd, &file)) return real.write(fd, data, size);
  return judge_write(file.growth_of_write(fd, at_once(size)), caller,
                     [=] { return real.write(fd, data, size); });
}

OOMGUARD_COLD ssize_t cold_pwrite(int fd, const void* data, size_t size, off64_t offset,
                                  const void* caller) {
  MemoryFile file;
  if (!look_at(fd, &file)) return real.pwrite64(fd, data, size, offset);
  return judge_write(file.growth_in(offset, at_once(size)), caller,
                     [=] { return real.pwrite64(fd, data, size, offset); });
}

[[gnu::always_inline]] inline ssize_t positioned_write(int fd, const void* data, size_t size,
                                                       off64_t offset, const void* caller) {
  ensure_resolved();
  if (needs_no_look(size)) return real.pwrite64(fd, data, size, offset);
  return cold_pwrite(fd, data, size, offset, caller);
}

// 0: nothing that the kernel would write.
size_t total(const iovec* parts, int count) noexcept {
  if (count <= 0 || count > IOV_MAX) return 0;
  constexpr int kAtOnce = 16;
  iovec copy[kAtOnce];
  size_t sum = 0;
  for (int at = 0; at < count; at += kAtOnce) {
    const int some = std::min(kAtOnce, count - at);
    if (!sys::copy_bytes(parts + at, copy, static_cast<size_t>(some) * sizeof(iovec))) return 0;
    for (int i = 0; i < some; ++i) {
      if (__builtin_add_overflow(sum, copy[i].iov_len, &sum)) return 0;
    }
  }
  return sum;
}

// The parts are the program's memory, so the file comes first. `offset` -1: at the descriptor's
// position.
template <typename Call>
ssize_t vector_write(int fd, const iovec* parts, int count, off64_t offset, const void* caller,
                     Call call) {
  MemoryFile file;
  ensure_resolved();
  if (is_off() || !file.look_at(fd) || !may_judge()) return call();
  const Bytes size = at_once(total(parts, count));
  const Bytes growth = offset < 0 ? file.growth_of_write(fd, size) : file.growth_in(offset, size);
  return judge_write(growth, caller, call);
}

// False: it cannot be read, which is the real call's to answer.
bool read_offset(const off64_t* from, off64_t* out) noexcept {
  if (from == nullptr) return true;
  return sys::copy_bytes(from, out, sizeof *from);
}

// From another file: as much as that can give.
template <typename Call>
OOMGUARD_COLD ssize_t copy_into(int out, const off64_t* out_offset, int in,
                                const off64_t* in_offset, size_t size, const void* caller,
                                Call call) {
  MemoryFile file;
  off64_t from = 0;
  off64_t to = 0;
  if (!look_at(out, &file) || !read_offset(in_offset, &from) || !read_offset(out_offset, &to)) {
    return call();
  }
  const Bytes most =
      budget::readable_from(in, in_offset != nullptr ? &from : nullptr, at_once(size));
  const Bytes growth =
      out_offset != nullptr ? file.growth_in(to, most) : file.growth_of_write(out, most);
  return judge_write(growth, caller, call);
}

template <typename Call>
int change_size(int fd, off64_t size, const void* caller, Call call) noexcept {
  MemoryFile file;
  ensure_resolved();
  if (!look_at(fd, &file)) return call();
  return judge(RequestKind::kFileSize, file.growth_to(size), caller, -1, call);
}

template <typename Call>
int change_size(const char* path, off64_t size, const void* caller, Call call) noexcept {
  MemoryFile file;
  ensure_resolved();
  if (is_off() || thread_state.in_slow_path != 0 || !file.look_at(path)) return call();
  return judge(RequestKind::kFileSize, file.growth_to(size), caller, -1, call);
}

// `refused`: fallocate's is -1 with errno, posix_fallocate's the error itself.
template <typename Call>
int allocate(int fd, off64_t offset, off64_t size, int refused, const void* caller, Call call) {
  MemoryFile file;
  ensure_resolved();
  if (offset < 0 || size <= 0 || !look_at(fd, &file)) return call();
  const Bytes growth = file.growth_in(offset, size);
  const int saved_errno = errno;
  const int status = judge(RequestKind::kFileSize, growth, caller, refused, call);
  if (status == 0) budget::gate.count_file_growth(growth);
  if (status > 0) errno = saved_errno;
  return status;
}

constexpr bool allocates(int mode) { return (mode & ~FALLOC_FL_KEEP_SIZE) == 0; }

// libc's own writes do not come through here, so a stream is judged before it writes.
OOMGUARD_COLD size_t cold_stream(const void* data, size_t size, size_t count, FILE* stream,
                                 const void* caller, decltype(real.fwrite) call) {
  MemoryFile file;
  size_t bytes;
  const int saved_errno = errno;
  const int fd = fileno(stream);  // complains about streams without one
  errno = saved_errno;
  if (__builtin_mul_overflow(size, count, &bytes) || fd < 0 || !look_at(fd, &file)) {
    return call(data, size, count, stream);
  }
  const ssize_t done =
      judge_write(file.growth_of_write(fd, static_cast<Bytes>(bytes)), caller,
                  [=] { return static_cast<ssize_t>(call(data, size, count, stream)); });
  if (done >= 0) return static_cast<size_t>(done);
  stream->_flags |= _IO_ERR_SEEN;
  return 0;
}

[[gnu::always_inline]] inline size_t stream_write(const void* data, size_t size, size_t count,
                                                  FILE* stream, const void* caller,
                                                  decltype(real.fwrite) call) {
  size_t bytes;
  if (!__builtin_mul_overflow(size, count, &bytes) && needs_no_look(bytes)) {
    return call(data, size, count, stream);
  }
  return cold_stream(data, size, count, stream, caller, call);
}

}  // namespace
}  // namespace oomguard::interpose

using namespace oomguard::interpose;  // NOLINT: the exports below are this file's purpose
using oomguard::real;

#define CALLER __builtin_return_address(0)

OOMGUARD_EXPORT ssize_t write(int fd, const void* data, size_t size) {
  if (needs_no_look(size)) return real.write(fd, data, size);
  return cold_write(fd, data, size, CALLER);
}

OOMGUARD_EXPORT ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  return positioned_write(fd, data, size, offset, CALLER);
}

OOMGUARD_EXPORT ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  return positioned_write(fd, data, size, offset, CALLER);
}

OOMGUARD_EXPORT ssize_t writev(int fd, const iovec* parts, int count) {
  return vector_write(fd, parts, count, -1, CALLER,
                      [=] { return real.writev(fd, parts, count); });
}

OOMGUARD_EXPORT ssize_t pwritev(int fd, const iovec* parts, int count, off_t offset) {
  return vector_write(fd, parts, count, offset, CALLER,
                      [=] { return real.pwritev64(fd, parts, count, offset); });
}

OOMGUARD_EXPORT ssize_t pwritev64(int fd, const iovec* parts, int count, off64_t offset) {
  return vector_write(fd, parts, count, offset, CALLER,
                      [=] { return real.pwritev64(fd, parts, count, offset); });
}

OOMGUARD_EXPORT ssize_t pwritev2(int fd, const iovec* parts, int count, off_t offset, int flags) {
  return vector_write(fd, parts, count, offset, CALLER,
                      [=] { return real.pwritev64v2(fd, parts, count, offset, flags); });
}

OOMGUARD_EXPORT ssize_t pwritev64v2(int fd, const iovec* parts, int count, off64_t offset,
                                    int flags) {
  return vector_write(fd, parts, count, offset, CALLER,
                      [=] { return real.pwritev64v2(fd, parts, count, offset, flags); });
}

OOMGUARD_EXPORT ssize_t sendfile(int out, int in, off_t* offset, size_t size) noexcept {
  ensure_resolved();
  return copy_into(out, nullptr, in, offset, size, CALLER,
                   [=] { return real.sendfile64(out, in, offset, size); });
}

OOMGUARD_EXPORT ssize_t sendfile64(int out, int in, off64_t* offset, size_t size) noexcept {
  ensure_resolved();
  return copy_into(out, nullptr, in, offset, size, CALLER,
                   [=] { return real.sendfile64(out, in, offset, size); });
}

OOMGUARD_EXPORT ssize_t copy_file_range(int in, off64_t* in_offset, int out, off64_t* out_offset,
                                        size_t size, unsigned flags) {
  ensure_resolved();
  return copy_into(out, out_offset, in, in_offset, size, CALLER, [=] {
    return real.copy_file_range(in, in_offset, out, out_offset, size, flags);
  });
}

OOMGUARD_EXPORT ssize_t splice(int in, off64_t* in_offset, int out, off64_t* out_offset,
                               size_t size, unsigned flags) {
  ensure_resolved();
  return copy_into(out, out_offset, in, in_offset, size, CALLER,
                   [=] { return real.splice(in, in_offset, out, out_offset, size, flags); });
}

OOMGUARD_EXPORT size_t fwrite(const void* data, size_t size, size_t count, FILE* stream) {
  ensure_resolved();
  return stream_write(data, size, count, stream, CALLER, real.fwrite);
}

OOMGUARD_EXPORT size_t fwrite_unlocked(const void* data, size_t size, size_t count, FILE* stream) {
  ensure_resolved();
  return stream_write(data, size, count, stream, CALLER, real.fwrite_unlocked);
}

OOMGUARD_EXPORT int ftruncate(int fd, off_t size) noexcept {
  return change_size(fd, size, CALLER, [=] { return real.ftruncate64(fd, size); });
}

OOMGUARD_EXPORT int ftruncate64(int fd, off64_t size) noexcept {
  return change_size(fd, size, CALLER, [=] { return real.ftruncate64(fd, size); });
}

OOMGUARD_EXPORT int truncate(const char* path, off_t size) noexcept {
  return change_size(path, size, CALLER, [=] { return real.truncate64(path, size); });
}

OOMGUARD_EXPORT int truncate64(const char* path, off64_t size) noexcept {
  return change_size(path, size, CALLER, [=] { return real.truncate64(path, size); });
}

OOMGUARD_EXPORT int fallocate(int fd, int mode, off_t offset, off_t size) {
  const auto call = [=] { return real.fallocate64(fd, mode, offset, size); };
  return allocate(fd, offset, allocates(mode) ? size : 0, -1, CALLER, call);
}

OOMGUARD_EXPORT int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
  const auto call = [=] { return real.fallocate64(fd, mode, offset, size); };
  return allocate(fd, offset, allocates(mode) ? size : 0, -1, CALLER, call);
}

OOMGUARD_EXPORT int posix_fallocate(int fd, off_t offset, off_t size) {
  return allocate(fd, offset, size, ENOSPC, CALLER,
                  [=] { return real.posix_fallocate64(fd, offset, size); });
}

OOMGUARD_EXPORT int posix_fallocate64(int fd, off64_t offset, off64_t size) {
  return allocate(fd, offset, size, ENOSPC, CALLER,
                  [=] { return real.posix_fallocate64(fd, offset, size); });
}
