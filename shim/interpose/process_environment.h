// What the exec hooks share: one funnel that computes the child's environment and then calls the
// real function with it.
//
// Thread-safety: all of it may run in any thread. Callable from a hook, and between vfork and exec:
// yes; errno is what the real function left.
#pragma once

#include <errno.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include <cstddef>

#include "collector/probe/syscall.h"
#include "shim/children/children.h"
#include "shim/children/oom_score.h"
#include "shim/children/scratch.h"
#include "shim/core/engine.h"
#include "shim/core/exec.h"
#include "shim/interpose/real.h"

namespace oomguard::interpose {

// Up to 500 variables; larger environments are mapped (threads may have 16 KiB of stack).
inline constexpr size_t kStackBytes = 4096;

// Calls `call(envp)` with the environment that the program at `target` gets.
template <typename Call>
int with_child_environment(const children::Target& target, char* const* envp, Call call) {
  ensure_resolved();  // exec in a constructor that ran before ours
  const options::Values& values = engine::values();
  const size_t bytes = values.enabled ? children::drop_bytes(values.children, target, envp) : 0;
  if (bytes == 0) return call(envp);
  if (bytes <= kStackBytes) return call(children::drop(envp, __builtin_alloca(bytes), bytes));
  children::Scratch scratch(bytes, children::in_vfork_child());
  return call(scratch.data() != nullptr ? children::drop(envp, scratch.data(), bytes) : envp);
}

// The same for calls that replace this process, or the child that vfork made of it.
template <typename Call>
int execute(const children::Target& target, char* const* envp, Call call) {
  if (children::in_vfork_child()) children::make_first_victim(0);
  const Executing executing;
  return with_child_environment(target, envp, call);
}

// The same for calls that start a child in which nothing of ours runs before exec.
template <typename Call>
int spawn(pid_t* pid, const children::Target& target, char* const* envp, Call call) {
  pid_t started = 0;
  const int error = with_child_environment(
      target, envp, [&](char* const* env) { return call(&started, env); });
  if (error != 0) return error;
  children::make_first_victim(started);
  if (pid != nullptr) *pid = started;
  return 0;
}

// execveat came with glibc 2.34; the system call is older.
inline int real_execveat(int fd, const char* path, char* const* argv, char* const* envp,
                         int flags) {
  if (real.execveat != nullptr) return real.execveat(fd, path, argv, envp, flags);
  const long result =
      sys::call(SYS_execveat, fd, sys::as_arg(path), sys::as_arg(argv), sys::as_arg(envp), flags);
  errno = static_cast<int>(-result);
  return -1;
}

// Arguments of execl and its kind, the terminating null pointer not counted; consumes it.
inline size_t count_arguments(const char* first, va_list* list) {
  size_t count = 0;
  for (const char* at = first; at != nullptr; at = va_arg(*list, const char*)) ++count;
  return count;
}
inline void copy_arguments(const char* first, va_list* list, char** argv) {
  for (const char* at = first; at != nullptr; at = va_arg(*list, const char*)) {
    *argv++ = const_cast<char*>(at);
  }
  *argv = nullptr;
}

}  // namespace oomguard::interpose
