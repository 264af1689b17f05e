// Of a statically linked command: libdw's own would load a library made for another libc, and a
// report asks no server for debugging information.
#include <cerrno>

extern "C" {

int __libdwfl_debuginfod_find_executable(void*, const unsigned char*, unsigned long) { return -ENOSYS; }
int __libdwfl_debuginfod_find_debuginfo(void*, const unsigned char*, unsigned long) { return -ENOSYS; }
void __libdwfl_debuginfod_end(void*) {}

}  // extern "C"
