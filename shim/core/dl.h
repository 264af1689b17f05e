// <dlfcn.h>, asking for the oldest versions of what glibc 2.34 moved from libdl into libc, so that a
// library built here loads on glibc 2.28 too. Not for a file that defines one of them. Only in a
// portable build (OOMGUARD_PORTABLE): it needs libdl.so.2, which every glibc has.
#pragma once

#include <dlfcn.h>

#if defined(OOMGUARD_PORTABLE)
#if defined(__x86_64__)
#define OOMGUARD_OLDEST "GLIBC_2.2.5"
#define OOMGUARD_OLDEST_2_3_3 "GLIBC_2.3.3"
#define OOMGUARD_OLDEST_2_3_4 "GLIBC_2.3.4"
#elif defined(__aarch64__)
#define OOMGUARD_OLDEST "GLIBC_2.17"
#define OOMGUARD_OLDEST_2_3_3 "GLIBC_2.17"
#define OOMGUARD_OLDEST_2_3_4 "GLIBC_2.17"
#endif
__asm__(".symver dlopen, dlopen@" OOMGUARD_OLDEST);
__asm__(".symver dlclose, dlclose@" OOMGUARD_OLDEST);
__asm__(".symver dlerror, dlerror@" OOMGUARD_OLDEST);
__asm__(".symver dlsym, dlsym@" OOMGUARD_OLDEST);
__asm__(".symver dlvsym, dlvsym@" OOMGUARD_OLDEST);
__asm__(".symver dladdr, dladdr@" OOMGUARD_OLDEST);
__asm__(".symver dladdr1, dladdr1@" OOMGUARD_OLDEST_2_3_3);
__asm__(".symver dlinfo, dlinfo@" OOMGUARD_OLDEST_2_3_3);
__asm__(".symver dlmopen, dlmopen@" OOMGUARD_OLDEST_2_3_4);
#endif
