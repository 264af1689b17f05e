// What the fuzzed code reads: the input, cut at NUL bytes into files. Each open gets the next of
// them; where nothing is served, system calls are real.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::fuzz {

// Until the next call every read through oomguard::sys answers from these bytes. Null: from the
// kernel again.
void serve(const uint8_t* data, size_t size);

// A file without a name that holds these bytes; the caller closes it.
int make_file(const uint8_t* data, size_t size);

}  // namespace oomguard::fuzz
