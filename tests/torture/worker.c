#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block.h"

enum { kEndedWithReport = 137 };

struct worker {
  const struct thread_plan* plan;
  uint32_t next;
  struct block blocks[kSlots];
  pid_t child;
  int kill_child;
};

struct counts {
  unsigned long steps, refusals, failed_forks, ended_children;
};

static struct plan g_plan;
static struct worker g_workers[kMaxThreads];
static struct counts g_counts;
static struct block g_mail[kMailSlots];
static pthread_mutex_t g_mail_lock = PTHREAD_MUTEX_INITIALIZER;
static int g_trace;

// With TORTURE_TRACE each step is said before it is done: the last one is the one that was not survived.
static void trace(const struct worker* w, const char* who, uint32_t step) {
  char line[64];
  if (!g_trace) return;
  const int length = snprintf(line, sizeof line, "%s %d.%u\n", who, (int)(w - g_workers), step);
  if (write(2, line, (size_t)length) < 0) _exit(kWrongError);
}

static void count(unsigned long* counter) { __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED); }

static void free_largest(struct block* blocks) {
  struct block* largest = NULL;
  for (int slot = 0; slot < kSlots; ++slot) {
    if (blocks[slot].address != NULL && (largest == NULL || blocks[slot].size > largest->size)) {
      largest = &blocks[slot];
    }
  }
  if (largest != NULL) block_free(largest);
}

static void allocate(struct block* blocks, const struct op* op) {
  struct block* b = &blocks[op->slot];
  if (b->address != NULL) block_free(b);  // a plan that lost its way by a refusal
  if (block_allocate(b, op)) return;
  count(&g_counts.refusals);
  free_largest(blocks);
  if (!block_allocate(b, op)) count(&g_counts.refusals);
}

static void give(struct block* b, uint32_t seed) {
  struct block* mail = &g_mail[seed % kMailSlots];
  struct block before = *b;
  pthread_mutex_lock(&g_mail_lock);
  const int taken = mail->address == NULL;
  if (taken) *mail = before;
  pthread_mutex_unlock(&g_mail_lock);
  if (!taken) block_free(&before);
  b->address = NULL;
}

static void take(uint32_t seed) {
  struct block* mail = &g_mail[seed % kMailSlots];
  pthread_mutex_lock(&g_mail_lock);
  struct block b = *mail;
  mail->address = NULL;
  pthread_mutex_unlock(&g_mail_lock);
  if (b.address != NULL) block_free(&b);
}

static void with_block(struct block* blocks, const struct op* op) {
  struct block* b = &blocks[op->slot];
  if (b->address == NULL) return;
  int granted = 1;
  switch (op->action) {
    case kTouch: block_touch(b, op); break;
    case kRead: block_read(b, op); break;
    case kRewrite: block_rewrite(b, op->seed); break;
    case kCheck: block_check(b); break;
    case kFree: block_free(b); break;
    case kResize: granted = block_resize(b, op->size); break;
    case kUnmapTail: granted = block_unmap_tail(b, op->size); break;
    case kRemap: granted = block_remap(b); break;
    case kDrop: block_drop(b); break;
    case kHuge: block_huge(b); break;
    case kGive: give(b, op->seed); break;
    default: break;
  }
  if (!granted) count(&g_counts.refusals);
}

static void common(struct block* blocks, const struct op* op) {
  switch (op->action) {
    case kAllocate: allocate(blocks, op); break;
    case kSleep: usleep((useconds_t)op->size); break;
    case kTake: take(op->seed); break;
    default: with_block(blocks, op); break;
  }
}

// The child sees every private block as it was; only its own thread's are surely at rest. What is
// shared changes under its eyes.
__attribute__((noreturn)) static void be_child(struct worker* w, const struct child_plan* plan) {
  for (int slot = 0; slot < kSlots; ++slot) {
    if (w->blocks[slot].source == kMapShared) w->blocks[slot].address = NULL;
  }
  for (uint32_t i = 0; i < plan->count; ++i) {
    trace(w, "child of", i);
    common(w->blocks, &plan->ops[i]);
  }
  for (int slot = 0; slot < kSlots; ++slot) {
    if (w->blocks[slot].address != NULL) block_check(&w->blocks[slot]);
  }
  _exit(0);
}

static void reap(struct worker* w) {
  if (w->child <= 0) return;
  if (w->kill_child) kill(w->child, SIGKILL);
  int status;
  while (waitpid(w->child, &status, 0) < 0 && errno == EINTR) {
  }
  w->child = 0;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  if (w->kill_child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return;
  if (WIFEXITED(status) && WEXITSTATUS(status) == kEndedWithReport) {
    count(&g_counts.ended_children);
    return;
  }
  if (WIFEXITED(status)) _exit(WEXITSTATUS(status));  // it said why
  fail(kWrongError, "a child ended by signal %d", WTERMSIG(status));
}

static void start_child(struct worker* w, const struct op* op) {
  const pid_t child = fork();
  if (child == 0) be_child(w, &w->plan->children[op->size]);
  if (child < 0) {
    if (errno != ENOMEM && errno != EAGAIN) fail(kWrongError, "fork: errno %d", errno);
    count(&g_counts.failed_forks);
    return;
  }
  w->child = child;
  w->kill_child = op->permille != 0;
}

int torture_open(uint64_t seed, uint64_t bytes) {
  g_trace = getenv("TORTURE_TRACE") != NULL;
  make_plan(&g_plan, seed, bytes);
  for (uint32_t i = 0; i < g_plan.threads; ++i) g_workers[i].plan = &g_plan.of[i];
  return (int)g_plan.threads;
}

int torture_step(int worker) {
  struct worker* w = &g_workers[worker];
  if (w->next == w->plan->count) return 0;
  trace(w, "thread", w->next);
  const struct op* op = &w->plan->ops[w->next++];
  count(&g_counts.steps);
  if (op->action == kFork) {
    start_child(w, op);
  } else if (op->action == kReap) {
    reap(w);
  } else {
    common(w->blocks, op);
  }
  return 1;
}

void torture_relieve(int worker) {
  count(&g_counts.refusals);
  free_largest(g_workers[worker].blocks);
}

void torture_close(void) {
  for (uint32_t i = 0; i < g_plan.threads; ++i) {
    reap(&g_workers[i]);
    for (int slot = 0; slot < kSlots; ++slot) {
      if (g_workers[i].blocks[slot].address != NULL) block_free(&g_workers[i].blocks[slot]);
    }
  }
  for (uint32_t i = 0; i < kMailSlots; ++i) take(i);
  printf("{\"steps\": %lu, \"refusals\": %lu, \"failed_forks\": %lu, \"ended_children\": %lu}\n",
         g_counts.steps, g_counts.refusals, g_counts.failed_forks, g_counts.ended_children);
  fflush(stdout);
}
