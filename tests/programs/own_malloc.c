// A program that brings wrappers of malloc of its own and finds the next ones by dlsym, like many a
// profiler: it comes before the preloaded library in the search order, and its calloc is called by
// dlsym while it looks for calloc.
#include <dlfcn.h>
#include <stdatomic.h>

#include "program.h"

static void* (*g_malloc)(size_t);
static void* (*g_calloc)(size_t, size_t);
static void* (*g_realloc)(void*, size_t);
static void (*g_free)(void*);
static int g_searching;
static atomic_long g_calls;
static char g_early[16384];
static size_t g_early_used;

static int is_early(const void* block) {
  return (const char*)block >= g_early && (const char*)block < g_early + sizeof(g_early);
}

static void search(void) {
  g_searching = 1;
  g_calloc = (void* (*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
  g_malloc = (void* (*)(size_t))dlsym(RTLD_NEXT, "malloc");
  g_realloc = (void* (*)(void*, size_t))dlsym(RTLD_NEXT, "realloc");
  g_free = (void (*)(void*))dlsym(RTLD_NEXT, "free");
  g_searching = 0;
}

static void* early(size_t size) {
  size_t at = g_early_used;
  g_early_used += (size + 31) / 16 * 16;
  return g_early_used <= sizeof(g_early) ? g_early + at : NULL;
}

void* malloc(size_t size) {
  ++g_calls;
  if (g_malloc == NULL) {
    if (g_searching) return early(size);
    search();
  }
  return g_malloc(size);
}
void* calloc(size_t count, size_t size) {
  ++g_calls;
  if (g_calloc == NULL) {
    if (g_searching) return early(count * size);
    search();
  }
  return g_calloc(count, size);
}
void* realloc(void* block, size_t size) {
  ++g_calls;
  if (g_realloc == NULL) search();
  return g_realloc(block, size);
}
void free(void* block) {
  if (block == NULL || is_early(block)) return;
  if (g_free == NULL) search();
  g_free(block);
}

int main(void) {
  char* volatile block = malloc(1000);
  fill(block, 1000, 5);
  block = realloc(block, 4 << 20);
  EXPECT(block != NULL && holds(block, 1000, 5));
  free(block);
  char* volatile zeros = calloc(100, 100);
  EXPECT(zeros != NULL && zeros[9999] == 0);
  free(zeros);
  char* text = NULL;
  EXPECT(asprintf(&text, "%d", 42) == 2 && strcmp(text, "42") == 0);
  free(text);
  EXPECT(g_calls > 3);
  say("own wrappers work");
  return 0;
}
