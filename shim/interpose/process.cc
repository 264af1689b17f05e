// Hooks of the process family: whatever becomes another program goes through here, so that children
// which are not Python do not get the shim (shim/children decides).
//
// All of it must be valid between vfork and exec: stack, system calls and the table of originals,
// nothing else, and nothing of the parent's is changed. PATH search and the /bin/sh fallback of
// execvp stay libc's: only the environment that it passes on is ours. `system` and `popen` start
// /bin/sh from inside libc; the shell keeps the shim, idle, and its own exec comes through here.
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <unistd.h>

#include "shim/interpose/export.h"
#include "shim/interpose/process_environment.h"
#include "shim/interpose/real.h"

using oomguard::real;
using oomguard::children::Target;
using oomguard::interpose::copy_arguments;
using oomguard::interpose::count_arguments;
using oomguard::interpose::execute;
using oomguard::interpose::real_execveat;
using oomguard::interpose::with_child_environment;

OOMGUARD_EXPORT int execve(const char* path, char* const argv[], char* const envp[]) noexcept {
  return execute({.path = path}, envp,
                 [&](char* const* env) { return real.execve(path, argv, env); });
}

OOMGUARD_EXPORT int execv(const char* path, char* const argv[]) noexcept {
  return execute({.path = path}, environ,
                 [&](char* const* env) { return real.execve(path, argv, env); });
}

OOMGUARD_EXPORT int execvpe(const char* file, char* const argv[], char* const envp[]) noexcept {
  return execute({.path = file, .search_path = true}, envp,
                 [&](char* const* env) { return real.execvpe(file, argv, env); });
}

OOMGUARD_EXPORT int execvp(const char* file, char* const argv[]) noexcept {
  return execute({.path = file, .search_path = true}, environ,
                 [&](char* const* env) { return real.execvpe(file, argv, env); });
}

OOMGUARD_EXPORT int execl(const char* path, const char* argument, ...) noexcept {
  va_list list;
  va_start(list, argument);
  const size_t count = count_arguments(argument, &list);
  va_end(list);
  va_start(list, argument);
  auto** argv = static_cast<char**>(__builtin_alloca((count + 1) * sizeof(char*)));
  copy_arguments(argument, &list, argv);
  va_end(list);
  return execute({.path = path}, environ,
                 [&](char* const* env) { return real.execve(path, argv, env); });
}

OOMGUARD_EXPORT int execlp(const char* file, const char* argument, ...) noexcept {
  va_list list;
  va_start(list, argument);
  const size_t count = count_arguments(argument, &list);
  va_end(list);
  va_start(list, argument);
  auto** argv = static_cast<char**>(__builtin_alloca((count + 1) * sizeof(char*)));
  copy_arguments(argument, &list, argv);
  va_end(list);
  return execute({.path = file, .search_path = true}, environ,
                 [&](char* const* env) { return real.execvpe(file, argv, env); });
}

OOMGUARD_EXPORT int execle(const char* path, const char* argument, ...) noexcept {
  va_list list;
  va_start(list, argument);
  const size_t count = count_arguments(argument, &list);
  va_end(list);
  va_start(list, argument);
  auto** argv = static_cast<char**>(__builtin_alloca((count + 1) * sizeof(char*)));
  copy_arguments(argument, &list, argv);
  char* const* envp = va_arg(list, char* const*);
  va_end(list);
  return execute({.path = path}, envp,
                 [&](char* const* env) { return real.execve(path, argv, env); });
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
  return with_child_environment({.path = path}, envp, [&](char* const* env) {
    return real.posix_spawn(pid, path, actions, attributes, argv, env);
  });
}

OOMGUARD_EXPORT int posix_spawnp(pid_t* pid, const char* file,
                                 const posix_spawn_file_actions_t* actions,
                                 const posix_spawnattr_t* attributes, char* const argv[],
                                 char* const envp[]) {
  return with_child_environment({.path = file, .search_path = true}, envp, [&](char* const* env) {
    return real.posix_spawnp(pid, file, actions, attributes, argv, env);
  });
}
