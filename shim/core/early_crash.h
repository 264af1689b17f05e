// Safe mode: a program whose last two starts ended within seconds, the second one by a crash in
// this library or below one of its functions, is not guarded at the third.
//
// While a program is in its first seconds a mark of it is in the folder, which goes when it ends by
// itself or lives on. Who finds the mark of one that is dead has handlers of the signals that a
// crash makes, where the program found the defaults; they note where it was and leave the rest to
// the default, so that a core dump is the same. A program whose last start went well has none. Not
// seen: a crash in the watchdog's own thread, and one on a stack that is full.
#pragma once

#include <cstdint>

namespace oomguard::early_crash {

// At start, before anything else of the guard. True, and a line on stderr, where that is so and not
// older than a day. Not callable from a hook.
bool crashed_before(const char* directory, int argc, char** argv) noexcept;

// Leaves the mark: from here on a crash counts. Once there is a session, and so the folder. Not
// callable from a hook.
void watch() noexcept;

// The process ends by itself or executes another program, or lives on: the mark goes. Cheap.
// Callable from a hook, from a signal handler and from the raw thread: yes.
void went_well() noexcept;
void tick(int64_t now_ns) noexcept;

}  // namespace oomguard::early_crash
