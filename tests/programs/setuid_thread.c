// The setuid family in a program with threads: glibc changes every thread's credentials by a
// signal, and a thread that it does not know of would stay behind. All calls set what is set
// already; then every task of the process must have the same ones.
#include <dirent.h>
#include <grp.h>
#include <pthread.h>
#include <stdatomic.h>

#include "program.h"

static atomic_int g_stop;

static void* allocate(void* unused) {
  uint32_t state = 7;
  while (!atomic_load(&g_stop)) {
    size_t size = next_random(&state) % 300000;
    char* block = malloc(size + 1);
    EXPECT(block != NULL);
    block[size] = 1;
    free(block);
    usleep(100);  // glibc waits for every thread at each call
  }
  return unused;
}

static void set_all(void) {
  uid_t user = getuid();
  gid_t group = getgid();
  EXPECT(setresuid(user, user, user) == 0 && setresgid(group, group, group) == 0);
  EXPECT(setreuid(user, user) == 0 && setregid(group, group) == 0);
  EXPECT(seteuid(user) == 0 && setegid(group) == 0);
  EXPECT(setuid(user) == 0 && setgid(group) == 0);
}

// The Uid line of every task; 1 where they are all the same.
static int all_alike(void) {
  char first[128] = "";
  DIR* tasks = opendir("/proc/self/task");
  EXPECT(tasks != NULL);
  int alike = 1;
  for (struct dirent* entry; (entry = readdir(tasks)) != NULL;) {
    if (entry->d_name[0] == '.') continue;
    char path[320], line[128];
    snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
    FILE* file = fopen(path, "r");
    if (file == NULL) continue;  // it ended in the meantime
    while (fgets(line, sizeof(line), file) != NULL) {
      if (strncmp(line, "Uid:", 4) != 0) continue;
      if (first[0] == '\0') strcpy(first, line);
      alike &= strcmp(first, line) == 0;
    }
    fclose(file);
  }
  closedir(tasks);
  return alike;
}

int main(void) {
  pthread_t threads[3];
  for (int i = 0; i < 3; ++i) EXPECT(pthread_create(&threads[i], NULL, allocate, NULL) == 0);
  for (int round = 0; round < 50; ++round) set_all();
  say("same credentials everywhere: %d", all_alike());
  if (getuid() == 0) {  // as root: give them up for real, and get them back
    EXPECT(setresuid(65534, 65534, 0) == 0);
    int alike = all_alike();
    free(malloc(8 << 20));
    usleep(300 * 1000);
    alike &= all_alike();
    EXPECT(setresuid(0, 0, 0) == 0);
    say("after giving them up: %d", alike);
  }
  atomic_store(&g_stop, 1);
  for (int i = 0; i < 3; ++i) EXPECT(pthread_join(threads[i], NULL) == 0);
  return 0;
}
