// Linked statically: no loader, no preload. It says whether its environment still names the
// library.
#include "program.h"

int main(void) {
  const char* preload = getenv("LD_PRELOAD");
  say("static: preload %d", preload != NULL && strstr(preload, "liboomguard.so") != NULL);
  char* volatile block = malloc(1 << 20);
  EXPECT(block != NULL);
  free(block);
  return 0;
}
