// The first program of a machine that qemu boots, alone in the initial file system: loads what is
// needed to reach the host's files, and goes on with a program of theirs.
//
//   first PROGRAM      /modules holds the modules, named so that their order is that of loading
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void load(const char* name) {
  char path[300];
  snprintf(path, sizeof path, "/modules/%s", name);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) != 0) {
    fprintf(stderr, "guest: %s: %s\n", name, strerror(errno));
  }
  close(fd);
}

static void give_up(const char* what) {
  fprintf(stderr, "guest: %s: %s\n", what, strerror(errno));
  reboot(RB_POWER_OFF);
  _exit(1);
}

int main(int argc, char** argv) {
  struct dirent** names;
  const int count = scandir("/modules", &names, NULL, alphasort);
  for (int i = 0; i < count; ++i) {
    if (names[i]->d_name[0] != '.') load(names[i]->d_name);
  }
  if (argc < 2) give_up("no program");
  mkdir("/host", 0755);
  const char* options = "trans=virtio,version=9p2000.L,msize=524288,cache=loose";
  if (mount("host", "/host", "9p", MS_RDONLY, options) != 0) give_up("the host's root");
  if (chroot("/host") != 0 || chdir("/") != 0) give_up("/host");
  execv(argv[1], argv + 1);
  give_up(argv[1]);
}
