// Grows as it is told on stdin, while whoever tells it changes its limits: one command a line.
//   ask MIB     asks and fills at once; says "granted" or "refused"
//   give        gives everything back
//   data MIB    setrlimit(RLIMIT_DATA) to what it has now and so much more
//   space MIB   the same with RLIMIT_AS
#include <sys/resource.h>

#include "program.h"

enum { kBlocks = 256 };

static char* g_blocks[kBlocks];
static int g_count;

static void ask(size_t bytes) {
  char* block = malloc(bytes);
  if (block == NULL) {
    EXPECT(errno == ENOMEM);
    say("refused");
    return;
  }
  memset(block, 1, bytes);
  EXPECT(g_count < kBlocks);
  g_blocks[g_count++] = block;
  say("granted");
}

static void give(void) {
  while (g_count > 0) free(g_blocks[--g_count]);
  say("given");
}

static size_t status_bytes(const char* key) {
  char line[256];
  size_t kib = 0;
  FILE* status = fopen("/proc/self/status", "r");
  EXPECT(status != NULL);
  while (fgets(line, sizeof line, status) != NULL) {
    if (strncmp(line, key, strlen(key)) == 0) kib = strtoul(line + strlen(key), NULL, 10);
  }
  fclose(status);
  return kib << 10;
}

static void limit(int resource, const char* key, size_t more) {
  struct rlimit limits;
  EXPECT(getrlimit((__rlimit_resource_t)resource, &limits) == 0);
  limits.rlim_cur = more == 0 ? limits.rlim_max : status_bytes(key) + more;
  EXPECT(setrlimit((__rlimit_resource_t)resource, &limits) == 0);
  say("limited");
}

int main(void) {
  char line[64];
  while (fgets(line, sizeof line, stdin) != NULL) {
    char word[16];
    unsigned long mib = 0;
    EXPECT(sscanf(line, "%15s %lu", word, &mib) >= 1);
    const size_t bytes = (size_t)mib << 20;
    if (strcmp(word, "ask") == 0) ask(bytes);
    if (strcmp(word, "give") == 0) give();
    if (strcmp(word, "data") == 0) limit(RLIMIT_DATA, "VmData:", bytes);
    if (strcmp(word, "space") == 0) limit(RLIMIT_AS, "VmSize:", bytes);
  }
  return 0;
}
