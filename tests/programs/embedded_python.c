// Not Python, but exports the symbol by which an interpreter under another name is recognised. As
// a child it must keep the shim; it says whether it did.
#include "program.h"

__attribute__((visibility("default"))) int Py_BytesMain(int argc, char** argv);
int Py_BytesMain(int argc, char** argv) {
  (void)argv;
  return argc;
}

int main(void) {
  const char* preload = getenv("LD_PRELOAD");
  say("preload %d", preload != NULL && strstr(preload, "liboomguard.so") != NULL);
  return 0;
}
