// The folder of sessions and the names of the files in it, for whoever writes one.
//
// Only oomguard::sys calls, no allocation. Callable from a hook: yes. Any number of processes at
// once.
#pragma once

#include <cstddef>

namespace oomguard::record {

inline constexpr size_t kMaxSessionPath = 320;

// A folder that only this user may write to, made (0700) where it is missing and `make` is set; not
// through a symbolic link. A descriptor of it, or -errno.
int open_private_folder(const char* path, bool make);

// `<directory>/sessions/` in `path`, and its length; made where it is missing, with mode 0700. A
// descriptor of it, or -errno: a folder that is a symbolic link or belongs to somebody else is
// refused, and a sessions folder that others may write to.
int open_sessions(const char* directory, char (&path)[kMaxSessionPath], size_t* length);

// A new, empty file `<seconds>-<pid>.flight` (0600) in it; its name goes behind `stem_length`
// characters of `path`. A descriptor, or -errno.
int create_session_file(int folder, char (&path)[kMaxSessionPath], size_t stem_length);

}  // namespace oomguard::record
