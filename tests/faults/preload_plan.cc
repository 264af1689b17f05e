// Arms the injector in a preloaded library before anything else of it runs.
//
// OOMGUARD_TEST_FAULT="<number> <errno> <0 or 1: and every later one>"; where the call was made, the
// file that OOMGUARD_TEST_FAULT_SEEN names exists afterwards.
#include <stdlib.h>

#include "tests/faults/injector.h"

namespace oomguard::faults {

// Linked first: of constructors of one priority the first in link order runs first.
[[gnu::constructor(101)]] static void arm_from_environment() {
  const char* text = getenv("OOMGUARD_TEST_FAULT");
  if (text == nullptr) return;
  Plan plan;
  char* rest = nullptr;
  plan.first = strtol(text, &rest, 10);
  plan.error = static_cast<int>(strtol(rest, &rest, 10));
  plan.and_after = strtol(rest, &rest, 10) != 0;
  arm(plan);
  announce(getenv("OOMGUARD_TEST_FAULT_SEEN"));
}

}  // namespace oomguard::faults
