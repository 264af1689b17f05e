// A command line as it may be kept on disk: secrets masked, control characters gone.
//
// Pure, allocation-free. Callable from a hook: yes.
#pragma once

#include <cstddef>

namespace oomguard::record {

// `arguments` is what /proc/PID/cmdline holds: `size` bytes, each argument ended by NUL (the last
// one may be cut). Writes them with spaces between into `out`, always NUL-terminated, and returns
// the length. Masked (the value becomes "***"): what follows a name such as token, password,
// secret, key or credential ("--token=x", "--password x", "API_KEY=x", "?token=x" in an address), a
// password in an address (scheme://user:x@host), and words that begin like a well-known kind of
// access token.
size_t mask_command(const char* arguments, size_t size, char* out, size_t capacity);

}  // namespace oomguard::record
