// Runs a program in which the kernel answers some system calls with an error, by seccomp.
//
//   errno_filter ERRNO RULE... -- PROGRAM [ARGUMENT...]
//
// A rule is NAME (of the list below) or NAME:INDEX:MASK:VALUE, which holds where the low 32 bits of
// that argument under MASK are VALUE. The filter stays for all children.
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
  const char* name;
  long number;
} calls[] = {
    {"clone", SYS_clone},           {"clone3", 435},
    {"close_range", 436},           {"fallocate", SYS_fallocate},
    {"fcntl", SYS_fcntl},           {"ftruncate", SYS_ftruncate},
    {"futex", SYS_futex},           {"getdents64", SYS_getdents64},
    {"getpriority", SYS_getpriority}, {"madvise", SYS_madvise},
    {"mkdirat", SYS_mkdirat},       {"mmap", SYS_mmap},
    {"newfstatat", SYS_newfstatat}, {"pread64", SYS_pread64},
    {"prlimit64", SYS_prlimit64},   {"rt_tgsigqueueinfo", SYS_rt_tgsigqueueinfo},
    {"sched_getaffinity", SYS_sched_getaffinity},
    {"sched_setattr", SYS_sched_setattr}, {"tgkill", SYS_tgkill},
    {"unlinkat", SYS_unlinkat},     {"unshare", SYS_unshare},
};

static struct sock_filter program[1024];
static unsigned short length;

static void add(unsigned short code, unsigned jump_true, unsigned jump_false, unsigned value) {
  program[length++] = (struct sock_filter){code, (unsigned char)jump_true, (unsigned char)jump_false,
                                           value};
}

static void add_rule(const char* rule, unsigned answer) {
  char name[32] = "";
  unsigned index = 0, mask = 0, value = 0;
  int parts = sscanf(rule, "%31[^:]:%u:%i:%i", name, &index, (int*)&mask, (int*)&value);
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; ++i) {
    if (strcmp(name, calls[i].name) != 0) continue;
    add(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
    add(BPF_JMP | BPF_JEQ | BPF_K, 0, parts == 4 ? 4 : 1, (unsigned)calls[i].number);
    if (parts == 4) {
      add(BPF_LD | BPF_W | BPF_ABS, 0, 0,
          (unsigned)(offsetof(struct seccomp_data, args) + 8 * index));
      add(BPF_ALU | BPF_AND | BPF_K, 0, 0, mask);
      add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, value);
    }
    add(BPF_RET | BPF_K, 0, 0, answer);
    return;
  }
  fprintf(stderr, "errno_filter: no rule: %s\n", rule);
  exit(2);
}

int main(int count, char** arguments) {
  int at = 2;
  if (count < 4) return 2;
  const unsigned answer = SECCOMP_RET_ERRNO | (unsigned)atoi(arguments[1]);
  for (; at < count && strcmp(arguments[at], "--") != 0; ++at) add_rule(arguments[at], answer);
  if (at + 1 >= count) return 2;
  add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
  struct sock_fprog filter = {length, program};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
    fprintf(stderr, "errno_filter: no filter here: %s\n", strerror(errno));
    return 77;
  }
  execvp(arguments[at + 1], arguments + at + 1);
  fprintf(stderr, "errno_filter: %s: %s\n", arguments[at + 1], strerror(errno));
  return 126;
}
