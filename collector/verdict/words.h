// A verdict as a person reads it, on stderr, in a report and in a notebook: no vocabulary of ours,
// one unit, and how sure it is.
//
// Thread-safety: pure functions. Callable from a hook: no (they allocate).
#pragma once

#include <string>
#include <vector>

#include "collector/record/flight.h"
#include "collector/verdict/verdict.h"

namespace oomguard::verdict {

// "was killed", "crashed", "ended": what follows the name of the program.
std::string what_happened(const Evidence& evidence, const Verdict& verdict);

// The cause in a sentence or two. `paths`: with the names of memory groups.
std::string cause(const Evidence& evidence, const Verdict& verdict, bool paths = true);

// Of a death for want of memory why it was not prevented, "" where that is not known.
std::string why_not_prevented(const Evidence& evidence, const Verdict& verdict);

// "Memory 4.1 -> 31.9 GiB in 9 s.", "" where it did not grow or nobody saw it.
std::string growth(const Evidence& evidence);

// What the verdict rests on, a line each.
std::vector<std::string> evidence_lines(const Evidence& evidence);

// "SIGKILL"; "signal 40" for one without a name.
std::string signal_name(int signal);

}  // namespace oomguard::verdict
