// Admission: may this request go on? (docs/design.md "Admission")
//
// A request spends its thread's credit; when that runs out, or the request is larger than it, an
// Admission decides: from the last answer of the kernel where there is plenty of room, else by
// reading the limits now. While it decides, the request stands in `pending`, so that two threads
// never pass on the same bytes; what it granted is recorded before it leaves there.
//
// Fails open: what cannot be read, or a process that is not guarded, is granted.
// Thread-safety: all of it, without locks. Callable from a hook: Admission, spend; from the raw
// thread: look, headroom and the setters that say so.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "collector/options/options.h"
#include "collector/probe/probe.h"
#include "collector/probe/residency.h"
#include "collector/record/flight.h"
#include "shim/budget/alarm.h"
#include "shim/budget/cached_answer.h"
#include "shim/budget/callers.h"
#include "shim/budget/incident.h"
#include "shim/budget/ledger.h"
#include "shim/budget/lines.h"
#include "shim/budget/notice.h"
#include "shim/budget/request.h"
#include "shim/core/thread_state.h"

namespace oomguard::budget {

// What was known when a request met its line; the record of a refusal is made from it.
struct Judgement {
  const probe::Probe* source = nullptr;  // whose reading it is
  const probe::Residency* pages = nullptr;
  probe::Reading reading{};
  probe::Headroom headroom{};
  Bytes line = 0;
  Bytes in_flight = 0;
  Bytes pending = 0;
  Bytes neighbours = 0;  // what of the two is other processes'
  bool small = false;
};

class Gate {
 public:
  enum class Mode : uint32_t { kStarting = 0, kOff, kOn };

  void configure(const options::Values& values) noexcept { values_ = values; }
  // The limit that binds at the start: kNoLimit and "" where none is known.
  struct Start {
    Bytes limit = kNoLimit;
    const char* limit_path = "";
    Bytes refused_budget = 0;  // what a share came to, where that is below options::kLeastBudget
  };
  // Reads the limits, sizes the reserve. Called once, before the mode is set. A share that is not
  // enough for a program is left out.
  Start start() noexcept;
  // There is no Python in this program: small requests are refused to it, too (C lets malloc
  // return NULL). Before the mode is set.
  void set_only_c(bool only_c) noexcept { only_c_ = only_c; }
  // The interpreter has begun to end: it frees what the program holds, and no exception can come
  // any more.
  void set_finishing() noexcept { finishing_.store(true, std::memory_order_relaxed); }
  bool finishing() const noexcept { return finishing_.load(std::memory_order_relaxed); }
  // An allocator that dies of a refusal stands before this library: what it asks for is granted
  // over the line.
  void set_granted_over_line() noexcept { granted_over_line_ = true; }
  bool granted_over_line() const noexcept { return granted_over_line_; }
  void set_mode(Mode mode) noexcept { mode_.store(mode, std::memory_order_release); }
  Mode mode() const noexcept { return mode_.load(std::memory_order_acquire); }
  // After fork, in the child: descriptors of /proc/self belong to the parent, so they are opened
  // again, by the child's first slow path (most children become another program before that).
  void on_fork_child() noexcept;

  // One look at the limits; refreshes what the cheap path uses. False: nothing could be read.
  bool look(probe::Depth depth, int64_t now_ns, probe::Reading* reading,
            probe::Headroom* headroom) noexcept {
    return look_through(probe, residency, depth, now_ns, reading, headroom);
  }
  // The same with the watchdog's own descriptors.
  bool look_through(probe::Probe& eyes, const probe::Residency& pages, probe::Depth depth,
                    int64_t now_ns, probe::Reading* reading, probe::Headroom* headroom) noexcept;
  probe::Config probe_config() const noexcept;
  // A budget that is set while the program runs, beside the configured one: the lower counts, from
  // the next request on that no thread's credit covers; of this thread, from the next. 0: none.
  // Callable from a signal handler.
  void set_budget(Bytes bytes) noexcept;
  // The files that `look` reads are this process's own: a forked child opens them with its first
  // slow path. False while another thread does that.
  bool owns_descriptors() noexcept {
    return descriptors_.load(std::memory_order_acquire) == Descriptors::kOwn || reopen_in_child();
  }
  // The same for processes with the same configured budget.
  uint64_t budget_key() const noexcept;
  // The watchdog read limits again. Where the process was moved to another group, the next slow
  // path opens its files anew: the watchdog never opens one in the program's descriptor table.
  void adopt_limits(const probe::Probe& fresh) noexcept;

  Bytes reserve() const noexcept { return reserve_.load(std::memory_order_relaxed); }
  Lines lines_now() const noexcept {
    return lines(reserve(), blind_.load(std::memory_order_relaxed), incident.grace(),
                 bystander_.load(std::memory_order_relaxed), only_c_);
  }
  // While the sum is above 0, small requests of every thread may use the last bytes: a refusal is
  // being shown, or a kernel is between cells and only its own machinery runs. Where it is taken
  // back, this thread's own code begins (the next cell), with a whole trickle.
  void add_privilege(int32_t change) noexcept {
    privilege_.fetch_add(change, std::memory_order_relaxed);
    if (change < 0) thread_state.dip = {};
  }
  // Code of the person's own runs, where a shell says so.
  bool in_cell() const noexcept { return privilege_.load(std::memory_order_relaxed) <= 0; }
  // A shell needs more for its traceback than a script; nothing where --reserve was given.
  void reserve_for_shell() noexcept;
  // The memory that goes is going to somebody else on the same limit.
  void set_bystander(bool bystander) noexcept {
    bystander_.store(bystander, std::memory_order_relaxed);
  }
  void set_blind(Bytes blind) noexcept { blind_.store(blind, std::memory_order_relaxed); }
  // By the last answer a request of this size is no question.
  bool has_plenty_for(Bytes size) const noexcept;
  // Everything granted since the start that fit; the watchdog compares it with what really grew.
  // What was granted over the line, because its caller cannot be refused, is growth that nobody
  // judged.
  int64_t granted_total() const noexcept { return granted_.load(std::memory_order_relaxed); }
  // Bytes by which files in memory grew through this process: its own growth, though in no page
  // table.
  void count_file_growth(Bytes size) noexcept {
    file_growth_.fetch_add(size, std::memory_order_relaxed);
  }
  int64_t file_growth() const noexcept { return file_growth_.load(std::memory_order_relaxed); }
  // The most memory of this process that the watchdog saw since this was asked last (0: it did not
  // look).
  void saw_memory(Bytes bytes) noexcept {
    const Bytes before = peak_.load(std::memory_order_relaxed);
    if (bytes > before) peak_.store(bytes, std::memory_order_relaxed);
  }
  Bytes take_peak() noexcept { return peak_.exchange(0); }
  // Of requests that are being decided.
  Bytes pending() const noexcept { return pending_.load(std::memory_order_relaxed); }
  int32_t last_spender() const noexcept { return last_spender_.load(std::memory_order_relaxed); }
  uint32_t cpus() const noexcept { return cpus_; }
  uint32_t swap_share() const noexcept { return values_.swap_share_permille; }
  const options::Values& values() const noexcept { return values_; }
  // What another killer on this machine wants left of MemAvailable (probe/killers.h).
  void set_machine_line(Bytes line) noexcept {
    machine_line_.store(line, std::memory_order_relaxed);
  }
  // How many threads share the credit; counted up as they come, set right by the watchdog.
  void set_threads(uint32_t threads) noexcept {
    threads_.store(threads, std::memory_order_relaxed);
  }
  void forget_lost_pending(int64_t now_ns) noexcept;
  void count_fault() noexcept { faults_.fetch_add(1, std::memory_order_relaxed); }
  uint64_t faults() const noexcept { return faults_.load(std::memory_order_relaxed); }

  probe::Probe probe;
  probe::Residency residency;
  Incident incident;
  Alarm alarm;
  Notice notice;

 private:
  friend class Admission;

  // A forked child has its parent's until its first slow path.
  enum class Descriptors : uint32_t { kOwn = 0, kParents, kOpening };

  static bool is_arena(const Request& request) noexcept;

  // `held`: what of the request stands in `pending_` and must be released.
  bool decide(Request request, int64_t now_ns, Bytes* held) noexcept;
  void open_probes() noexcept;
  bool reopen_in_child() noexcept;
  bool announce(Bytes size) noexcept;
  Bytes hold(Bytes size) noexcept;
  void release(Bytes size) noexcept;
  bool fits_cached(const Request& request, int64_t now_ns, Bytes pending) noexcept;
  bool fits_now(const Request& request, int64_t now_ns, Bytes pending, Judgement* out) noexcept;
  bool over_line(const Request& request, int64_t now_ns, Bytes* held, Judgement* out) noexcept;
  Bytes kept_from(Caller caller) const noexcept;
  bool is_more_than_all(const Request& request, Caller caller,
                        const Judgement& judgement) const noexcept;
  bool may_fit_after_relief(const Request& request, int64_t now_ns,
                            const Judgement& judgement) noexcept;
  bool refuse(const Request& request, int64_t now_ns, const Judgement& judgement) noexcept;
  void grant_credit(Bytes credit) noexcept;
  bool is_flood(const Request& request, uint64_t incident_id, int64_t now_ns,
                const Judgement& judgement) noexcept;
  void insist(uint64_t number, int64_t now_ns) noexcept;
  Bytes dip(const Request& request, Bytes headroom, int64_t now_ns) noexcept;
  void owe_exception(const Request& request, int64_t now_ns, const Judgement& judgement) noexcept;

  std::atomic<Mode> mode_{Mode::kStarting};
  std::atomic<bool> finishing_{false};
  options::Values values_;
  bool only_c_ = false;
  bool granted_over_line_ = false;
  uint32_t cpus_ = 1;
  std::atomic<Bytes> budget_{0};
  std::atomic<Bytes> reserve_{0};
  std::atomic<Bytes> blind_{0};
  std::atomic<Bytes> machine_line_{0};
  std::atomic<bool> bystander_{false};
  std::atomic<int32_t> privilege_{0};
  std::atomic<bool> shell_{false};
  CachedAnswer cached_;
  std::atomic<uint64_t> flood_incident_{0};
  std::atomic<uint32_t> flood_{0};  // small refusals of that incident
  std::atomic<uint32_t> in_a_row_{0};  // refusals of the same size
  std::atomic<Bytes> last_refused_{0};
  std::atomic<int64_t> last_refused_ns_{0};
  std::atomic<Bytes> peak_{0};
  std::atomic<Bytes> pending_{0};
  std::atomic<int64_t> decided_ns_{0};
  std::atomic<Descriptors> descriptors_{Descriptors::kOwn};
  std::atomic<bool> moved_{false};  // another group: find it
  std::atomic<int64_t> granted_{0};
  std::atomic<int64_t> file_growth_{0};
  std::atomic<int64_t> no_arena_until_ns_{0};
  std::atomic<uint32_t> threads_{0};
  std::atomic<int32_t> last_spender_{0};
  std::atomic<uint64_t> faults_{0};
};

extern Gate gate;

// The fast path of every hook that asks for memory. True: the request is covered by this thread's
// credit, nothing else to do. A subtraction and a compare.
[[gnu::always_inline]] inline bool spend(size_t size) noexcept {
  if (size > thread_state.credit) [[unlikely]] return false;
  thread_state.credit -= size;
  return true;
}

// A request that took the slow path, from before the call until its block is recorded.
class Admission {
 public:
  // `block_size`: of the block that the call will return, where that is more than it asks for
  // (realloc), or 0 where it returns none and its hook did not try to spend a size. Those of
  // mprotect and brk did, and come here more often where a sample is near: so what they tried is
  // passed by, and a sample that falls in there is recorded nowhere and drawn anew. To leave it due
  // would have the next blocks chosen too often.
  Admission(record::RequestKind kind, size_t size, const void* caller, size_t block_size) noexcept;
  Admission(record::RequestKind kind, size_t size, const void* caller) noexcept
      : Admission(kind, size, caller, is_answered_by_error(kind) ? 0 : size) {}
  ~Admission();
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  bool granted() const noexcept { return granted_; }
  // Its call stack is recorded, and it is one of those that `free` should recognise by its
  // alignment.
  bool is_sampled(size_t size) const noexcept { return weight_ != 0 && size <= kRecordedAbove; }
  // The block that the call returned; recorded where it is above 1 MiB. nullptr is ignored.
  void block(void* address, size_t size, bool from_heap) noexcept;

 private:
  void ask(record::RequestKind kind, size_t size) noexcept;
  void sample(size_t size, uint64_t to_sample) noexcept;

  Bytes pending_ = 0;
  uintptr_t caller_;
  int64_t weight_ = 0;  // bytes that the block stands for where its call stack is recorded, else 0
  bool granted_ = true;
  bool watching_ = false;  // the gate works and this is not a call from inside one of our hooks
};

// Milliseconds-cheap clock of the program's threads (vDSO).
int64_t program_now_ns() noexcept;

}  // namespace oomguard::budget
