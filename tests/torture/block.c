#include "block.h"

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { kChunk = 4096 };

struct node {
  struct node* next;
  uint64_t words[];
};

void fail(int status, const char* format, ...) {
  char line[512];
  va_list list;
  va_start(list, format);
  int length = vsnprintf(line, sizeof line - 1, format, list);
  va_end(list);
  if (length > (int)sizeof line - 2) length = (int)sizeof line - 2;
  line[length] = '\n';
  if (write(2, line, (size_t)length + 1) < 0) _exit(status);
  _exit(status);
}

static void* refused(const char* call) {
  if (errno != ENOMEM) fail(kWrongError, "%s failed with errno %d, not ENOMEM", call, errno);
  return NULL;
}

// The map of filled chunks is no part of what is tested: the system call itself, past every hook.
static void make_map(struct block* b, size_t size) {
  const size_t chunks = (size + kChunk - 1) / kChunk;
  b->filled = NULL;
  b->filled_bytes = 0;
  b->small_map = 0;
  if (chunks <= 64) return;
  b->filled_bytes = ((chunks + 63) / 64 * 8 + kChunk - 1) / kChunk * kChunk;
  const long map = syscall(SYS_mmap, 0, b->filled_bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == -1) fail(kWrongError, "no room for a map of %zu bytes", b->filled_bytes);
  b->filled = (uint64_t*)map;
}

static void drop_map(struct block* b) {
  if (b->filled != NULL) syscall(SYS_munmap, b->filled, b->filled_bytes);
  b->filled = NULL;
}

static uint64_t* map_word(const struct block* b, size_t chunk) {
  return b->filled != NULL ? &b->filled[chunk / 64] : (uint64_t*)&b->small_map;
}
static int is_filled(const struct block* b, size_t chunk) {
  return (int)(*map_word(b, chunk) >> (chunk % 64) & 1);
}
static void set_filled(struct block* b, size_t chunk) { *map_word(b, chunk) |= 1ull << (chunk % 64); }
static void clear_filled(struct block* b, size_t chunk) {
  *map_word(b, chunk) &= ~(1ull << (chunk % 64));
}
static size_t chunk_count(const struct block* b) { return (b->size + kChunk - 1) / kChunk; }

static uint64_t word_at(uint32_t seed, size_t index) {
  return (index + 1) * 0xD1342543DE82EF95ull ^ ((uint64_t)seed << 16 | 1);
}

// The words of a chunk that its pattern covers: all, or one.
static void chunk_words(const struct block* b, size_t chunk, size_t* first, size_t* end) {
  const size_t start = chunk * kChunk / 8;
  size_t words = b->size / 8 - start;
  if (words > kChunk / 8) words = kChunk / 8;
  *first = start;
  *end = start + words;
  if (!b->dense && words > 0) {
    *first = start + (b->seed + chunk * 37) % words;
    *end = *first + 1;
  }
}

static void fill_chunk(struct block* b, size_t chunk) {
  size_t first, end;
  chunk_words(b, chunk, &first, &end);
  uint64_t* words = (uint64_t*)b->address;
  for (size_t i = first; i < end; ++i) words[i] = word_at(b->seed, i);
  set_filled(b, chunk);
}

static void check_chunk(const struct block* b, size_t chunk) {
  size_t first, end;
  chunk_words(b, chunk, &first, &end);
  const uint64_t* words = (const uint64_t*)b->address;
  uint64_t wrong = 0;
  for (size_t i = first; i < end; ++i) wrong |= words[i] ^ word_at(b->seed, i);
  if (wrong == 0) return;
  for (size_t i = first; i < end; ++i) {
    if (words[i] != word_at(b->seed, i)) {
      fail(kCorrupted, "corrupted: block %p of %zu bytes (source %d), word %zu is %llx, not %llx",
           (void*)b->address, b->size, b->source, i, (unsigned long long)words[i],
           (unsigned long long)word_at(b->seed, i));
    }
  }
}

static int list_allocate(struct block* b, const struct op* op) {
  const size_t node_size = 16u << (op->permille % 10);
  struct node* head = NULL;
  for (size_t made = 0; made < op->size; made += node_size) {
    struct node* node = malloc(node_size);
    if (node == NULL) {
      refused("malloc");
      break;
    }
    node->next = head;
    for (size_t i = 0; i < node_size / 8 - 1; ++i) node->words[i] = word_at(b->seed, i + made);
    head = node;
    b->size = made + node_size;
  }
  b->address = (unsigned char*)head;
  b->zeroed = (uint8_t)(op->permille % 10);  // a list keeps the size of its nodes here
  return head != NULL;
}

static void list_walk(const struct block* b, int release) {
  const size_t node_size = 16u << b->zeroed;
  size_t made = b->size;
  for (struct node* node = (struct node*)b->address; node != NULL;) {
    made -= node_size;
    for (size_t i = 0; i < node_size / 8 - 1; ++i) {
      if (node->words[i] != word_at(b->seed, i + made)) {
        fail(kCorrupted, "corrupted: node %p of %zu bytes, word %zu", (void*)node, node_size, i);
      }
    }
    struct node* next = node->next;
    if (release) free(node);
    node = next;
  }
  if (made != 0) fail(kCorrupted, "corrupted: a list lost %zu bytes", made);
}

static void* map(void* at, size_t size, int protection, int flags) {
  void* address = mmap(at, size, protection, flags | MAP_ANONYMOUS, -1, 0);
  return address == MAP_FAILED ? refused("mmap") : address;
}

static void* reserve(size_t size) {
  void* address = map(NULL, size, PROT_NONE, MAP_PRIVATE);
  if (address == NULL) return NULL;
  if (mprotect(address, size, PROT_READ | PROT_WRITE) == 0) return address;
  refused("mprotect");
  munmap(address, size);
  return NULL;
}

static void* get(const struct op* op, int* zeroed) {
  const size_t size = op->size;
  const size_t alignment = 16u << (op->permille % 16);
  void* address = NULL;
  *zeroed = op->source == kCalloc || op->source >= kMapPrivate;
  switch (op->source) {
    case kMalloc: address = malloc(size); break;
    case kCalloc: address = calloc(size / 8 + 1, 8); break;
    case kReallocNull: address = realloc(NULL, size); break;
    case kReallocArray: address = reallocarray(NULL, size / 8 + 1, 8); break;
    case kPosixMemalign: errno = posix_memalign(&address, alignment, size); break;
    case kAlignedAlloc: address = aligned_alloc(alignment, size); break;
    case kMemalign: address = memalign(alignment, size); break;
    case kValloc: address = valloc(size); break;
    case kPvalloc: address = pvalloc(size); break;
    case kMapPrivate: return map(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    case kMapShared: return map(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED);
    case kMapNoReserve: return map(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE);
    case kReservation: return reserve(size);
    case kBreak:
      address = sbrk((intptr_t)size);
      if (address == (void*)-1) address = NULL;
      *zeroed = 0;  // what malloc had there before may be in it
      break;
    default: break;
  }
  return address == NULL ? refused("malloc family") : address;
}

int block_allocate(struct block* b, const struct op* op) {
  *b = (struct block){.seed = op->seed, .source = op->source, .dense = op->dense != 0};
  if (op->source == kList) return list_allocate(b, op);
  int zeroed;
  b->address = get(op, &zeroed);
  if (b->address == NULL) return 0;
  b->zeroed = (uint8_t)zeroed;
  b->size = op->size;
  make_map(b, b->size);
  return 1;
}

void block_touch(struct block* b, const struct op* op) {
  if (b->source == kList) return;
  const size_t chunks = chunk_count(b);
  const size_t head = (chunks * op->permille + 999) / 1000;
  struct generator random = {op->seed | 1ull << 40};
  for (size_t i = 0; i < chunks; ++i) {
    size_t chunk = i;
    if (op->pattern == kHead && i >= head) break;
    if (op->pattern == kEvery && i % (1 + op->permille % 16) != 0) continue;
    if (op->pattern == kRandom) {
      if (i >= head) break;
      chunk = below(&random, chunks);
    }
    if (!is_filled(b, chunk)) fill_chunk(b, chunk);
  }
}

void block_read(const struct block* b, const struct op* op) {
  if (b->source == kList) return;
  const size_t chunks = chunk_count(b);
  struct generator random = {op->seed | 1ull << 40};
  for (size_t i = 0; i < (chunks * op->permille + 999) / 1000; ++i) {
    const size_t chunk = op->pattern == kRandom ? below(&random, chunks) : i;
    if (is_filled(b, chunk)) continue;
    const volatile unsigned char* byte = b->address + chunk * kChunk;
    if (*byte != 0 && b->zeroed) {
      fail(kCorrupted, "corrupted: block %p of %zu bytes (source %d) is not zero at %zu",
           (void*)b->address, b->size, b->source, chunk * kChunk);
    }
  }
}

void block_rewrite(struct block* b, uint32_t seed) {
  if (b->source == kList) return;
  block_check(b);
  if (!b->dense) seed = b->seed;  // the place of its words follows from it
  b->seed = seed;
  for (size_t chunk = 0; chunk < chunk_count(b); ++chunk) {
    if (is_filled(b, chunk)) fill_chunk(b, chunk);
  }
}

void block_check(const struct block* b) {
  if (b->source == kList) return list_walk(b, 0);
  for (size_t chunk = 0; chunk < chunk_count(b); ++chunk) {
    if (is_filled(b, chunk)) check_chunk(b, chunk);
  }
}

void block_free(struct block* b) {
  if (b->source == kList) {
    list_walk(b, 1);
  } else {
    block_check(b);
    if (is_mapping(b->source)) {
      if (munmap(b->address, b->size) != 0) fail(kWrongError, "munmap: errno %d", errno);
    } else if (b->source != kBreak) {  // a break stays: malloc may have moved it on since
      free(b->address);
    }
    drop_map(b);
  }
  b->address = NULL;
}

// Bits of what is left; a chunk that is cut, or grows, is no longer what its bit says.
static void resized(struct block* b, size_t size) {
  const size_t kept = size < b->size ? size : b->size;
  struct block before = *b;
  b->size = size;
  make_map(b, size);
  for (size_t chunk = 0; chunk < kept / kChunk; ++chunk) {
    if (is_filled(&before, chunk)) set_filled(b, chunk);
  }
  drop_map(&before);
}

int block_resize(struct block* b, size_t size) {
  void* address;
  block_check(b);
  if (is_mapping(b->source)) {
    address = mremap(b->address, b->size, size, MREMAP_MAYMOVE);
    // One call extends one mapping.
    if (address == MAP_FAILED && errno == EFAULT && b->remapped && size > b->size) return 1;
    if (address == MAP_FAILED) address = refused("mremap");
  } else {
    address = realloc(b->address, size);
    if (address == NULL) refused("realloc");
    b->zeroed = 0;
  }
  if (address == NULL) return 0;
  b->address = address;
  resized(b, size);
  return 1;
}

int block_unmap_tail(struct block* b, size_t size) {
  if (size >= b->size) return 1;
  if (munmap(b->address + size, b->size - size) != 0) fail(kWrongError, "munmap: errno %d", errno);
  resized(b, size);
  return 1;
}

static void forget_middle(struct block* b, size_t first, size_t end) {
  for (size_t chunk = first; chunk < end; ++chunk) clear_filled(b, chunk);
}

int block_remap(struct block* b) {
  const size_t quarter = chunk_count(b) / 4;
  if (quarter == 0) return 1;
  const size_t size = 2 * quarter * kChunk;
  if (map(b->address + quarter * kChunk, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED) ==
      NULL) {
    return 0;
  }
  b->remapped = 1;
  forget_middle(b, quarter, 3 * quarter);
  return 1;
}

void block_drop(struct block* b) {
  const size_t quarter = chunk_count(b) / 4;
  if (quarter == 0) return;
  if (madvise(b->address + quarter * kChunk, 2 * quarter * kChunk, MADV_DONTNEED) != 0) {
    fail(kWrongError, "madvise: errno %d", errno);
  }
  forget_middle(b, quarter, 3 * quarter);
}

void block_huge(const struct block* b) {
  const uintptr_t start = ((uintptr_t)b->address + kChunk - 1) / kChunk * kChunk;
  const uintptr_t end = ((uintptr_t)b->address + b->size) / kChunk * kChunk;
  if (end > start) madvise((void*)start, end - start, MADV_HUGEPAGE);  // EINVAL without huge pages
}
