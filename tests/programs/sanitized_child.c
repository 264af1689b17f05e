// Built with AddressSanitizer, whose run-time must be the first library of the process: with the
// shim preloaded before it, it refuses to start.
#include "program.h"

int main(void) {
  char* volatile block = malloc(100000);
  EXPECT(block != NULL);
  free(block);
  say("sanitized: ran");
  return 0;
}
