// A call stack as three readers see it: ours, libc's backtrace(3) (libgcc), and libunwind where it
// is installed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace oomguard::trace::test {

using Addresses = std::vector<uintptr_t>;

struct Seen {
  Addresses ours;
  Addresses libgcc;
  Addresses libunwind;  // empty: not installed
};

// Reads the caller's stack. All three begin with an address in this function.
void look(Seen* out);
// The same as a leaf of shapes.h: `data` is a Seen*.
int look_at(void* data);

// Our stack is what the others say, from look()'s caller on; an interrupted function's address may
// be one more. `count`: as many of the frames as there have to be at least.
void expect_as_others(const Seen& seen, size_t count);

}  // namespace oomguard::trace::test
