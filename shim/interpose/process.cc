// Hooks of the process family: whatever becomes another program goes through here, so that children
// which are not Python do not get the shim (shim/children decides). So does an end that skips what
// exit does, which would look like a death otherwise.
//
// All of it must be valid between vfork and exec: stack, system calls and the table of originals,
// nothing else, and nothing of the parent's is changed. PATH search and the /bin/sh fallback of
// execvp stay libc's: only the environment that it passes on is ours. `system` and `popen` start
// /bin/sh from inside libc; the shell keeps the shim, idle, and its own exec comes through here.
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <unistd.h>

#include "shim/core/session.h"
#include "shim/interpose/export.h"
#include "shim/interpose/process_environment.h"
#include "shim/interpose/real.h"

using oomguard::real;
using oomguard::children::Target;
using oomguard::interpose::copy_arguments;
using oomguard::interpose::count_arguments;
using oomguard::interpose::execute;
using oomguard::interpose::real_execveat;
using oomguard::interpose::spawn;

namespace {

int replace(const char* path, char* const* argv, char* const* envp) noexcept {
  return execute({.path = path}, envp,
                 [&](char* const* env) { return real.execve(path, argv, env); });
}

int replace_searching(const char* file, char* const* argv, char* const* envp) noexcept {
  return execute({.path = file, .search_path = true}, envp,
                 [&](char* const* env) { return real.execvpe(file, argv, env); });
}

}  // namespace

OOMGUARD_EXPORT int execve(const char* path, char* const argv[], char* const envp[]) noexcept {
  return replace(path, argv, envp);
}

OOMGUARD_EXPORT int execv(const char* path, char* const argv[]) noexcept {
  return replace(path, argv, environ);
}

OOMGUARD_EXPORT int execvpe(const char* file, char* const argv[], char* const envp[]) noexcept {
  return replace_searching(file, argv, envp);
}

OOMGUARD_EXPORT int execvp(const char* file, char* const argv[]) noexcept {
  return replace_searching(file, argv, environ);
}

// The arguments as an array on the stack of the function that uses it.
#define OOMGUARD_COLLECT_ARGUMENTS(first, list)                                             \
  va_list list;                                                                             \
  va_start(list, first);                                                                    \
  const size_t count = count_arguments(first, &list);                                       \
  va_end(list);                                                                             \
  va_start(list, first);                                                                    \
  auto** argv = static_cast<char**>(__builtin_alloca((count + 1) * sizeof(char*)));         \
  copy_arguments(first, &list, argv)

OOMGUARD_EXPORT int execl(const char* path, const char* argument, ...) noexcept {
  OOMGUARD_COLLECT_ARGUMENTS(argument, list);
  va_end(list);
  return replace(path, argv, environ);
}

OOMGUARD_EXPORT int execlp(const char* file, const char* argument, ...) noexcept {
  OOMGUARD_COLLECT_ARGUMENTS(argument, list);
  va_end(list);
  return replace_searching(file, argv, environ);
}

OOMGUARD_EXPORT int execle(const char* path, const char* argument, ...) noexcept {
  OOMGUARD_COLLECT_ARGUMENTS(argument, list);
  char* const* envp = va_arg(list, char* const*);
  va_end(list);
  return replace(path, argv, envp);
}

OOMGUARD_EXPORT int fexecve(int fd, char* const argv[], char* const envp[]) noexcept {
  return execute({.directory_fd = fd}, envp,
                 [&](char* const* env) { return real.fexecve(fd, argv, env); });
}

OOMGUARD_EXPORT int execveat(int fd, const char* path, char* const argv[], char* const envp[],
                             int flags) noexcept {
  return execute({.path = path, .directory_fd = fd}, envp,
                 [&](char* const* env) { return real_execveat(fd, path, argv, env, flags); });
}

OOMGUARD_EXPORT int posix_spawn(pid_t* pid, const char* path,
                                const posix_spawn_file_actions_t* actions,
                                const posix_spawnattr_t* attributes, char* const argv[],
                                char* const envp[]) {
  return spawn(pid, {.path = path}, envp, [&](pid_t* started, char* const* env) {
    return real.posix_spawn(started, path, actions, attributes, argv, env);
  });
}

OOMGUARD_EXPORT int posix_spawnp(pid_t* pid, const char* file,
                                 const posix_spawn_file_actions_t* actions,
                                 const posix_spawnattr_t* attributes, char* const argv[],
                                 char* const envp[]) {
  const Target target{.path = file, .search_path = true};
  return spawn(pid, target, envp, [&](pid_t* started, char* const* env) {
    return real.posix_spawnp(started, file, actions, attributes, argv, env);
  });
}

OOMGUARD_EXPORT void _exit(int status) {
  oomguard::interpose::ensure_resolved();
  oomguard::session::exits();
  real._exit(status);
  for (;;) oomguard::sys::call(SYS_exit_group, status);  // never: the pointer is not [[noreturn]]
}
