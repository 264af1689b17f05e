// Makes and removes a session's flight file (flight.h).
//
// Only oomguard::sys calls: no allocation, no errno, about 1.5 KiB of stack. Callable from a hook:
// yes (the engine calls it once, from its start). Thread-safety: one call at a time for a directory
// and process; any number of processes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "collector/record/flight.h"

namespace oomguard::record {

inline constexpr size_t kMaxSessionPath = 320;

// What the header says about the start that the writer cannot find out itself.
struct Start {
  int64_t limit_bytes = INT64_MAX;
  int64_t reserve_bytes = 0;
  int64_t oom_kills = -1;
  const char* limit_path = "";
  uint64_t tree = 0;
};

// Makes `<directory>/sessions/<seconds>-<pid>.flight`, reserves its blocks on disk (a full disk is
// an error now and not a SIGBUS later), maps it shared and fills the header. Missing folders are
// made with mode 0700. Refused: a folder that is a symbolic link or belongs to somebody else, and a
// sessions folder that others may write to. Null on failure; the reason (-errno) is in `*error`.
FlightFile* create(const char* directory, const Start& start, char (&path)[kMaxSessionPath],
                   int* error);

// Makes the folder of sessions where it is missing, as create() does. 0, or -errno where no session can
// be made in it.
[[nodiscard]] int prepare_folder(const char* directory);

// At a clean exit: removes the file of a session in which nothing was refused. Does nothing in a
// forked child, which shares its parent's file, and nothing where there was a refusal.
void remove_if_uneventful(const FlightFile* file, const char* path);

// Unmaps without touching the file: for a forked child that makes its own.
void detach(FlightFile* file);

}  // namespace oomguard::record
