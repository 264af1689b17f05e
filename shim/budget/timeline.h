// The watchdog's samples in the session's timeline (collector/record/timeline.h): one for each look
// that saw something move, and two a second where nothing does. The pages that are written to are
// locked (resident.h), each when it is first written to and while there is room for it: near the
// limit a look takes no page fault for its sample. One thread's (the raw thread's). Callable from
// the raw thread: yes, and from nowhere else.
#pragma once

#include "shim/budget/look.h"

namespace oomguard::budget::timeline {

// When the watchdog begins, after resident::keep_code(). `is_other`: process than before.
void begin(bool is_other) noexcept;
// After each look that could read something. False: nothing changed, and the last sample is recent.
bool add(const Look& look, bool changed) noexcept;

}  // namespace oomguard::budget::timeline
