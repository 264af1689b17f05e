// This process's flight file: made at start, removed at a clean exit in which nothing happened.
// Where no file can be made the record is kept in memory, so that the exception still has its
// report. Thread-safety: start and finish in one thread; the record itself has its own rules
// (flight.h).
#pragma once

#include <cstdint>

#include "collector/record/layout.h"

namespace oomguard::session {

// Not from a hook.
void start(const char* directory, int64_t limit_bytes, int64_t reserve_bytes, int64_t oom_kills,
           const char* limit_path, uint64_t flight_bytes = record::kDefaultFlightBytes) noexcept;
// Known a moment later than the rest.
void set_tree(uint64_t tree) noexcept;
// /proc/self/oom_score_adj; known then, too.
void set_oom_score(int score) noexcept;
// A descriptor of the folder of sessions, or -errno.
int open_folder() noexcept;
// Clean exit of the process that started the session.
void finish() noexcept;
// The process ends without what exit does. Callable from a hook, from a signal handler, and between
// vfork and exec: yes (does nothing in a process that is not the session's own).
void exits() noexcept;
// In fork's child: the file is the parent's. The child records in memory until its first refusal.
void on_fork_child() noexcept;
// Makes a forked child's own file before its first record. Callable from a hook: yes.
void ensure_own_file() noexcept;

// The record and its sections (layout.h), never null. From start() on they stay where they are,
// also in a forked child, which finds an empty record there, and when that becomes a file; before,
// and in a process without addresses for more, there are no sections. Callable from a hook and from
// the raw thread: yes.
const record::View& view() noexcept;
record::FlightFile* file() noexcept;
// How often the record became a file at the same address: locks on its pages are gone then.
uint32_t moves() noexcept;
const char* path() noexcept;

// Before and after an exec that did not happen. Callable between vfork and exec: yes (does nothing
// in a process that is not the session's own).
void before_exec() noexcept;
void exec_failed() noexcept;

// Writes whole lines to the program's stderr at once, where that takes them without blocking: at
// most PIPE_BUF bytes. `from_watchdog`: in the raw thread, which has descriptors of its own.
void say(const char* text, size_t length, bool from_watchdog) noexcept;

// The report of this refusal is to be shown (--on-limit warn); by the watchdog, because a hook
// never prints, or at the process's end. Callable from a hook: yes.
void report_later(uint64_t number) noexcept;
void show_due_report(bool from_watchdog) noexcept;

// Ends the process with status 137 and its newest report on stderr. Writes only as much as fd 2
// takes without blocking.
[[noreturn]] void exit_with_report(bool from_watchdog = false) noexcept;
// The same because of --on-limit exit, which the session's file says.
[[noreturn]] void exit_at_limit(bool from_watchdog = false) noexcept;

}  // namespace oomguard::session
