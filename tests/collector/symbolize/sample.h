// A library whose lines are known.
#pragma once

#include <cstdint>

namespace sample {

using Callback = void (*)(void* data);

// Calls back from inside two functions that are inlined into it.
int outer(int number, Callback callback, void* data);
// Calls back from a function that no symbol names once they are stripped.
int through_hidden(int number, Callback callback, void* data);

struct Lines {
  int inner;   // where the callback is called
  int middle;  // where inner() is called
  int outer;   // where middle() is called
};
Lines lines();

}  // namespace sample
