#include "plan.h"

#include <stdio.h>
#include <string.h>

enum { kPage = 4096, kSmallest = 16 };

// What the generator knows of a thread while it makes its plan.
struct draft {
  struct generator random;
  struct op* ops;
  uint32_t* count;
  uint32_t steps;
  uint64_t share;    // may be granted at once
  uint64_t churn;    // may still be filled over time, so that a plan ends
  uint64_t live, touched, most_live, most_touched;
  uint64_t largest_gift;
  uint64_t size[kSlots], filled[kSlots];  // size 0: empty
  uint8_t source[kSlots], inherited[kSlots];
  uint64_t sleeps_us;
  uint64_t child_share;  // held by a child that was not reaped
  int threads, may_break, may_fork, in_child, habit;
};

uint64_t next_number(struct generator* g) {
  uint64_t x = g->state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  g->state = x;
  return x * 0x2545F4914F6CDD1Dull;
}

static struct generator generator_of(uint64_t seed, uint64_t stream) {
  struct generator g = {(seed + 1) * 0x9E3779B97F4A7C15ull ^ (stream + 1) * 0xD1342543DE82EF95ull};
  if (g.state == 0) g.state = 1;
  for (int i = 0; i < 8; ++i) next_number(&g);
  return g;
}

int is_mapping(int source) { return source >= kMapPrivate && source <= kReservation; }

static struct op* add(struct draft* d, int action, int slot) {
  struct op* op = &d->ops[(*d->count)++];
  *op = (struct op){.action = (uint8_t)action, .slot = (uint8_t)slot,
                    .seed = (uint32_t)next_number(&d->random)};
  return op;
}

static void count_live(struct draft* d) {
  if (d->live > d->most_live) d->most_live = d->live;
  if (d->touched > d->most_touched) d->most_touched = d->touched;
}

static uint64_t random_size(struct draft* d, uint64_t room) {
  uint64_t size;
  if (below(&d->random, 3) == 0) {
    size = room / (1 + below(&d->random, 4));  // a large part of what is left
  } else {
    size = kSmallest << below(&d->random, 20);  // 16 bytes to 16 MiB
    size += below(&d->random, size);
  }
  return size < room ? size : room;
}

static void forget(struct draft* d, int slot) {
  if (!d->inherited[slot]) {
    d->live -= d->size[slot];
    d->touched -= d->filled[slot];
  }
  d->size[slot] = d->filled[slot] = 0;
  d->inherited[slot] = 0;
}

static void plan_touch(struct draft* d, int slot) {
  // Some programs always fill everything at once, some hardly anything, most do this and that.
  const int all = d->habit < 2 || (d->habit == 3 && below(&d->random, 2) == 0);
  const uint64_t room = d->size[slot] - d->filled[slot];
  if (room == 0 || room > d->churn || d->inherited[slot] || d->source[slot] == kList) return;
  struct op* op = add(d, kTouch, slot);
  op->pattern = (uint8_t)(all ? kWhole : 1 + below(&d->random, 3));
  op->permille = (uint16_t)(all ? 1000 : 1 + below(&d->random, 1000));
  d->filled[slot] = d->size[slot];  // at most
  d->touched += room;
  d->churn -= room;
  count_live(d);
}

static int random_source(struct draft* d) {
  int source = (int)below(&d->random, kSources);
  if (source == kBreak && !d->may_break) source = kMalloc;
  return source;
}

static void plan_allocation(struct draft* d, int slot) {
  if (d->live + d->child_share + kSmallest * 64 > d->share) return;
  const uint64_t room = d->share - d->live - d->child_share;
  const int source = random_source(d);
  uint64_t size = random_size(d, room);
  if (source == kList && size > room / 2) size = room / 2;  // headers of small nodes
  if (source == kList && size > (16 << 20)) size = 16 << 20;
  if (is_mapping(source) || source == kBreak || source == kPvalloc) {
    size = (size + kPage - 1) / kPage * kPage;
    if (size > room) return;
  }
  if (size > d->churn || size < kSmallest) return;
  struct op* op = add(d, kAllocate, slot);
  op->source = (uint8_t)source;
  op->size = size;
  op->dense = below(&d->random, 4) != 0;
  op->permille = (uint16_t)below(&d->random, 16);  // alignment, or the size of a list's nodes
  d->size[slot] = source == kList ? 2 * size : size;
  d->filled[slot] = source == kList ? 2 * size : 0;
  d->source[slot] = (uint8_t)source;
  d->live += d->size[slot];
  d->touched += d->filled[slot];
  if (source == kList) d->churn -= size;
  count_live(d);
  if (size > (2 << 20) && below(&d->random, 4) == 0) add(d, kHuge, slot);
  if (below(&d->random, 3) != 0 || d->habit < 2) plan_touch(d, slot);
}

static void plan_resize(struct draft* d, int slot) {
  const int source = d->source[slot];
  if (source == kList || source == kBreak || d->inherited[slot]) return;
  const int mapping = is_mapping(source);
  const uint64_t old = d->size[slot];
  const uint64_t taken = d->live + d->child_share - (mapping ? old : 0);
  if (taken + kPage > d->share) return;
  uint64_t size = below(&d->random, 2) == 0 ? old / 2 + kSmallest : random_size(d, d->share - taken);
  if (mapping) size = size / kPage * kPage;
  if (size < kSmallest || size > d->churn || taken + size > d->share) return;
  if (source == kReservation || source == kMapShared) {
    if (size >= old) return;  // one object behind it, or rights that differ: only shrunk
  }
  struct op* op = add(d, kResize, slot);
  op->size = size;
  // A copy needs both for a moment.
  d->live += size;
  if (d->live - (mapping ? old : 0) > d->most_live) d->most_live = d->live - (mapping ? old : 0);
  d->live -= old;
  d->size[slot] = size;
  if (d->filled[slot] > size) {
    d->touched -= d->filled[slot] - size;
    d->filled[slot] = size;
  }
}

static void plan_mapping_trick(struct draft* d, int slot) {
  if (!is_mapping(d->source[slot]) || d->inherited[slot] || d->size[slot] < 4 * kPage) return;
  static const uint8_t tricks[] = {kUnmapTail, kRemap, kDrop};
  const int action = tricks[below(&d->random, 3)];
  // Dropping a shared page leaves it where it is; a fixed mapping over it would be private.
  if (d->source[slot] == kMapShared && action != kUnmapTail) return;
  struct op* op = add(d, action, slot);
  if (action != kUnmapTail) {  // half of it may be filled again
    if (d->filled[slot] > d->size[slot] / 2) {
      d->touched -= d->filled[slot] - d->size[slot] / 2;
      d->filled[slot] = d->size[slot] / 2;
    }
    return;
  }
  op->size = (1 + below(&d->random, d->size[slot] / kPage - 1)) * kPage;
  const uint64_t gone = d->size[slot] - op->size;
  d->live -= gone;
  d->size[slot] = op->size;
  if (d->filled[slot] > op->size) {
    d->touched -= d->filled[slot] - op->size;
    d->filled[slot] = op->size;
  }
}

static void plan_give(struct draft* d, int slot) {
  if (d->size[slot] > d->largest_gift || d->inherited[slot] || d->source[slot] == kBreak) return;
  add(d, kGive, slot);
  forget(d, slot);
}

static void plan_rewrite(struct draft* d, int slot) {
  if (d->size[slot] > d->churn || d->source[slot] == kList) return;
  if (d->inherited[slot]) {  // each written page becomes the child's own
    if (d->live + d->size[slot] > d->share) return;
    d->inherited[slot] = 0;
    d->live += d->size[slot];
    d->touched += d->size[slot];
    count_live(d);
  }
  d->churn -= d->size[slot];
  add(d, kRewrite, slot);
}

static void make_ops(struct draft* d);

static void plan_fork(struct draft* d, struct thread_plan* of) {
  if (!d->may_fork || d->in_child || of->forks == kMaxForks || d->child_share != 0) return;
  const uint64_t room = d->share - d->live;
  if (d->live > d->share || room < (1 << 20)) return;
  struct child_plan* plan = &of->children[of->forks];
  struct op* op = add(d, kFork, 0);
  op->size = of->forks++;
  op->permille = below(&d->random, 3) == 0;
  static struct draft child;
  child = *d;
  child.random = generator_of(op->seed, 77);
  child.ops = plan->ops;
  child.count = &plan->count;
  child.steps = 10 + (uint32_t)below(&d->random, 40);
  child.share = room / (1 + below(&d->random, 4));
  child.churn = 2 * child.share;
  child.live = child.touched = child.most_live = child.most_touched = 0;
  child.in_child = 1;
  child.may_break = 0;
  child.sleeps_us = d->sleeps_us / 2;
  for (int slot = 0; slot < kSlots; ++slot) child.inherited[slot] = child.size[slot] != 0;
  make_ops(&child);
  d->child_share = child.share;
  d->live += d->child_share;  // counted as the thread's own until it is reaped
  d->touched += child.most_touched;
  count_live(d);
  d->live -= d->child_share;
}

static void plan_reap(struct draft* d) {
  if (d->child_share == 0) return;
  add(d, kReap, 0);
  d->child_share = 0;
}

static void plan_sleep(struct draft* d) {
  const uint64_t us = 100u << below(&d->random, 9);
  if (us > d->sleeps_us) return;
  d->sleeps_us -= us;
  add(d, kSleep, 0)->size = us;
}

static struct thread_plan* g_of;  // of the thread whose plan is being made

static void plan_step(struct draft* d) {
  const int slot = (int)below(&d->random, kSlots);
  const int choice = (int)below(&d->random, 100);
  if (choice < 4) return plan_sleep(d);
  if (choice < 6) return plan_fork(d, g_of);
  if (choice < 8) return plan_reap(d);
  if (choice < 11 && !d->in_child) {
    add(d, kTake, 0);
    return;
  }
  if (d->size[slot] == 0) return plan_allocation(d, slot);
  if (choice < 40) return plan_touch(d, slot);
  if (choice < 50) {
    add(d, kRead, slot)->permille = (uint16_t)(1 + below(&d->random, 1000));
  } else if (choice < 60) {
    add(d, kCheck, slot);
  } else if (choice < 72) {
    add(d, kFree, slot);
    forget(d, slot);
  } else if (choice < 87) {
    plan_resize(d, slot);
  } else if (choice < 92) {
    plan_mapping_trick(d, slot);
  } else if (choice < 95 && d->threads > 1 && !d->in_child) {
    plan_give(d, slot);
  } else {
    plan_rewrite(d, slot);
  }
}

static void make_ops(struct draft* d) {
  *d->count = 0;
  for (uint32_t step = 0; step < d->steps && *d->count + 4 < kMaxOps; ++step) plan_step(d);
}

void make_plan(struct plan* plan, uint64_t seed, uint64_t bytes) {
  memset(plan, 0, sizeof *plan);
  struct generator g = generator_of(seed, 0);
  plan->threads = below(&g, 3) == 0 ? 1 : 1 + (uint32_t)below(&g, kMaxThreads);
  const uint64_t mail = plan->threads > 1 ? bytes / 8 : 0;
  const int habit = (int)below(&g, 4);
  const int may_fork = below(&g, 2) == 0;
  static struct draft d;
  for (uint32_t i = 0; i < plan->threads; ++i) {
    struct thread_plan* of = g_of = &plan->of[i];
    d = (struct draft){.random = generator_of(seed, i + 1), .ops = of->ops, .count = &of->count,
                       .steps = 40 + (uint32_t)below(&g, 150), .threads = (int)plan->threads,
                       .share = (bytes - mail) / plan->threads, .may_break = plan->threads == 1,
                       .largest_gift = mail / kMailSlots,
                       .sleeps_us = 200 * 1000, .habit = habit,
                       .may_fork = may_fork};
    d.churn = 3 * d.share;
    make_ops(&d);
    plan_reap(&d);
    plan->forks += of->forks;
    plan->granted_bytes += d.most_live;
    plan->touched_bytes += d.most_touched;
  }
  plan->granted_bytes += mail;
  plan->touched_bytes += mail;
  // While a child lives, what its parent frees is still the child's.
  if (plan->forks != 0) {
    plan->granted_bytes *= 2;
    plan->touched_bytes *= 2;
  }
}

static void print_ops(const char* who, uint32_t number, const struct op* ops, uint32_t count) {
  static const char* const actions[] = {"allocate", "touch", "read", "rewrite", "check", "free",
                                        "resize", "unmap_tail", "remap", "drop", "huge", "sleep",
                                        "give", "take", "fork", "reap"};
  static const char* const sources[] = {
      "malloc", "calloc", "realloc_null", "reallocarray", "posix_memalign", "aligned_alloc",
      "memalign", "valloc", "pvalloc", "list", "map_private", "map_shared", "map_noreserve",
      "reservation", "break"};
  static const char* const patterns[] = {"whole", "head", "every", "random"};
  for (uint32_t i = 0; i < count; ++i) {
    const struct op* op = &ops[i];
    printf("%s %u.%u %s slot %u", who, number, i, actions[op->action], op->slot);
    if (op->action == kAllocate) printf(" %s%s", sources[op->source], op->dense ? "" : " sparse");
    if (op->action == kTouch) printf(" %s", patterns[op->pattern]);
    if (op->permille != 0) printf(" permille %u", op->permille);
    if (op->size != 0) printf(" size %llu", (unsigned long long)op->size);
    printf("\n");
  }
}

void print_plan(const struct plan* plan) {
  printf("threads %u, forks %u, granted at most %llu, touched at most %llu\n", plan->threads,
         plan->forks, (unsigned long long)plan->granted_bytes,
         (unsigned long long)plan->touched_bytes);
  for (uint32_t i = 0; i < plan->threads; ++i) {
    const struct thread_plan* of = &plan->of[i];
    print_ops("thread", i, of->ops, of->count);
    for (uint32_t child = 0; child < of->forks; ++child) {
      print_ops("  child", 10 * i + child, of->children[child].ops, of->children[child].count);
    }
  }
}
