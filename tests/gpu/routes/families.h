// Every way of taking memory from the driver, and of giving it back.
#ifndef OOMGUARD_TESTS_GPU_ROUTES_FAMILIES_H
#define OOMGUARD_TESTS_GPU_ROUTES_FAMILIES_H

#include <vector>

#include "tests/gpu/routes/api.h"

namespace routes {

struct Taken {
  uint64_t a = 0, b = 0, c = 0;
  size_t bytes = 0;
};

struct Family {
  const char* name;
  Id decides;  // the function that takes the memory
  CUresult (*take)(const Api&, size_t bytes, Taken*);  // Taken may be null where null_is_answered
  CUresult (*drop)(const Api&, Taken*);
  bool null_is_answered;   // the driver answers a null pointer, and freeing twice, with a status
  bool on_card;            // counts for the card's budget
  size_t granularity;      // sizes are multiples of it
};

const std::vector<Family>& families();

}  // namespace routes

#endif  // OOMGUARD_TESTS_GPU_ROUTES_FAMILIES_H
