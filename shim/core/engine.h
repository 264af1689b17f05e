// What the Python side and the tools of the shim may ask of the engine. The embedded module reaches
// these through the `_bridge` functions that shim/python makes of them.
// Thread-safety: all callable from any thread that is not inside a hook. No allocation.
#pragma once

#include <cstddef>
#include <cstdint>

#include "collector/options/options.h"
#include "collector/record/flight.h"
#include "collector/record/text.h"

namespace oomguard::engine {

const options::Values& values() noexcept;

// The gate works in this process (Python, or the program given to `run`, and OOMGUARD is not 0).
bool active() noexcept;

struct Usage {
  int64_t limit_bytes;      // INT64_MAX: nothing limits
  int64_t used_bytes;       // what counts against that limit (usage - reclaimable)
  int64_t headroom_bytes;   // what may still be asked for: limit - used - reserve, never below 0
  int64_t reserve_bytes;
  char limit_name[160];     // "container (/sys/fs/cgroup/memory/x)", "machine", "budget", ...
};
bool usage(Usage* out) noexcept;

// Refusals so far; each has a 1-based number. Copies number `n` (0 = the newest that has a record);
// false: it has none, or has one no longer (flight.h).
uint64_t refusal_count() noexcept;
bool copy_refusal(uint64_t n, record::RefusalRecord* out) noexcept;
size_t render_refusal(uint64_t n, record::Audience audience, char* out, size_t capacity) noexcept;
size_t render_refusal_note(uint64_t n, char* out, size_t capacity) noexcept;

// Number of the newest refusal that this thread (0: any thread) got and that was not yet surfaced.
uint64_t unsurfaced_refusal(int32_t thread_id) noexcept;

// An exception came from a child: the child's newest refusal that nobody has seen, as one of this
// process's. 0: there is none.
uint64_t childs_refusal() noexcept;

// A person has seen the exception of refusal `n`. `where`: the Python line(s). Ends the incident:
// the grace share closes as soon as there is room again.
void surfaced(uint64_t n, const char* where) noexcept;
// What a person knows a file of refusal `n`'s lines of code as ("cell [4]"), `path` as code objects
// have it.
void name_file(uint64_t n, const char* path, const char* label) noexcept;
// The exception of refusal `n` is about to end the program (excepthook): EndState::kEndedByRefusal,
// grace stays open.
void ending(uint64_t n) noexcept;

// The signal that carries the exception: a free real-time signal (SIG_DFL when asked), chosen by
// the Python side, told to the engine once its Python handler is in place. 0 takes it back.
void exception_signal_ready(int signal_number) noexcept;
// The Python handler has ended (raised or decided not to): the next alarm may send again.
void exception_handled() noexcept;
// Why the last signal was sent: number of the RefusalRecord made for it (kTouch, or granted to a
// caller that cannot handle NULL), and the native id of the thread that grew most (0 unknown).
uint64_t alarm_refusal(int32_t* growing_thread_id) noexcept;

// While the sum of changes is above 0, small requests may use the last bytes (Gate::add_privilege).
void add_privilege(int32_t change) noexcept;
// An interactive shell runs in this process: the reserve grows by what it needs for a traceback.
void shell_started() noexcept;

// Gives the kernel back what the allocator keeps of freed memory. Takes 150-575 ms on a fragmented
// heap of 4 GB, so only where much was freed at once.
void trim() noexcept;

// A budget for this process in bytes, set while it runs, beside a configured one: the lower counts.
// 0: none. It holds from the next request on; what other threads have as credit (at most 1 MiB
// each) they may still spend. Callable from a signal handler.
void set_budget(int64_t bytes) noexcept;
// The most memory of this process since this was asked last, in bytes, as the watchdog saw it (four
// times a second, more often near the limit). 0: it did not look.
int64_t take_peak() noexcept;
// While the sum of changes is above 0, this thread sees the host's memory (shim/budget/view.h).
void see_host(int32_t change) noexcept;
// From now on somebody prints a notice where memory gets scarce (shim/budget/notice.h).
void allow_notices() noexcept;

// The interpreter is about to free what call stacks are read from. Not from a hook.
void interpreter_ends() noexcept;

// Null: stays what it is. `notebook`: its server's name for it (JPY_SESSION_NAME).
void set_python(uint32_t major_minor, bool is_kernel, const char* connection_file,
                const char* notebook) noexcept;
// A kernel executes the cell of that number, whose source this is; 0: none.
void set_cell(uint32_t number, const char* source) noexcept;
// The code of that cell is known to the interpreter by this name.
void name_cell(uint32_t number, const char* file) noexcept;
// Its user or its server asked this process to end: what ends it now is nothing to explain.
void asked_to_end() noexcept;
const char* session_path() noexcept;   // the flight file, "" where none could be made

}  // namespace oomguard::engine
