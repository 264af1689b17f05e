#include "tests/shim/trace/shapes.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define APART __attribute__((noinline, noclone))
#define KEEP(x) __asm__ volatile("" : "+r"(x) : : "memory")

static volatile int g_three = 3;

APART int shape_plain(Leaf leaf, void* data) { return leaf(data) + 1; }

APART static int descend(Leaf leaf, void* data, int depth) {
  if (depth == 0) return leaf(data);
  int below = descend(leaf, data, depth - 1);
  KEEP(below);
  return below + 1;
}
APART int shape_deep(Leaf leaf, void* data) { return descend(leaf, data, 40) + 1; }

APART int shape_busy_registers(Leaf leaf, void* data) {
  long a = g_three, b = a * 3, c = b * 5, d = c * 7, e = d * 11, f = e * 13, g = f * 17, h = g * 19;
  KEEP(a); KEEP(b); KEEP(c); KEEP(d); KEEP(e); KEEP(f); KEEP(g); KEEP(h);
  const int answer = leaf(data);
  return answer + (int)((a ^ b ^ c ^ d ^ e ^ f ^ g ^ h) & 1);
}

APART int shape_variable_array(Leaf leaf, void* data) {
  const size_t size = (size_t)g_three * 100;
  char bytes[size];
  memset(bytes, 1, size);
  char* at = bytes;
  KEEP(at);
  return leaf(data) + at[size - 1];
}

APART int shape_aligned(Leaf leaf, void* data) {
  _Alignas(64) char bytes[128];
  char* at = bytes;
  KEEP(at);
  at[5] = 1;
  return leaf(data) + at[5];
}

APART int shape_aligned_variable(Leaf leaf, void* data) {
  _Alignas(64) char bytes[128];
  char* at = bytes;
  char* more = __builtin_alloca((size_t)g_three * 1000);
  KEEP(at);
  KEEP(more);
  at[5] = more[7] = 1;
  return leaf(data) + at[5] + more[7];
}

APART int shape_large(Leaf leaf, void* data) {
  char bytes[300000];
  char* at = bytes;
  KEEP(at);
  at[299999] = 1;
  return leaf(data) + at[299999];
}

APART static int take(Leaf leaf, void* data, long a, long b, long c, long d, long e, long f,
                      long g) {
  return leaf(data) + (int)(a + b + c + d + e + f + g);
}
APART int shape_many_arguments(Leaf leaf, void* data) {
  return take(leaf, data, 1, 2, 3, 4, 5, 6, g_three) + 1;
}

APART static int take_any(Leaf leaf, void* data, int count, ...) {
  va_list list;
  va_start(list, count);
  int sum = leaf(data);
  while (count-- > 0) sum += va_arg(list, int);
  va_end(list);
  return sum;
}
APART int shape_variadic(Leaf leaf, void* data) {
  return take_any(leaf, data, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9) + 1;
}

APART static int jumps(Leaf leaf, void* data) { return leaf(data); }
APART int shape_tail_call(Leaf leaf, void* data) { return jumps(leaf, data) + 1; }

static Leaf g_leaf;
static void* g_data;
static int g_asked;
APART static int compare(const void* left, const void* right) {
  if (g_asked++ == 0) g_leaf(g_data);
  return *(const int*)left - *(const int*)right;
}
APART int shape_from_libc(Leaf leaf, void* data) {
  int numbers[] = {3, 1, 2};
  g_leaf = leaf;
  g_data = data;
  g_asked = 0;
  qsort(numbers, 3, sizeof numbers[0], compare);
  return numbers[0];
}

APART int shape_early_return(Leaf leaf, void* data) {
  long a = g_three, b = a * 3, c = b * 5;
  KEEP(a); KEEP(b); KEEP(c);
  if (g_three == 4) return 7;
  if (g_three == 5) return leaf(NULL) + 9;
  const int answer = leaf(data);
  KEEP(a); KEEP(b); KEEP(c);
  return answer + (int)((a ^ b ^ c) & 1);
}

/* No .cfi directives: nothing is said about it. */
#if defined(__x86_64__)
__asm__(
    ".text\n.type undescribed, @function\nundescribed:\n"
    "  subq $8, %rsp\n  movq %rdi, %rax\n  movq %rsi, %rdi\n  call *%rax\n  addq $8, %rsp\n  ret\n"
    ".size undescribed, . - undescribed\n");
#else
__asm__(".text\n.type undescribed, %function\nundescribed:\n"
        "  stp x29, x30, [sp, #-16]!\n  mov x9, x0\n  mov x0, x1\n  blr x9\n"
        "  ldp x29, x30, [sp], #16\n  ret\n.size undescribed, . - undescribed\n");
#endif
extern int undescribed(Leaf leaf, void* data);
APART int shape_without_description(Leaf leaf, void* data) { return undescribed(leaf, data) + 1; }
