// Makes and removes a session's flight file (flight.h).
//
// Only oomguard::sys calls: no allocation, no errno, about 1.5 KiB of stack. Callable from a hook:
// yes (the engine calls it once, from its start). Thread-safety: one call at a time for a directory
// and process; any number of processes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "collector/record/folder.h"
#include "collector/record/layout.h"

namespace oomguard::record {

// What the header says about the start that the writer cannot find out itself.
struct Start {
  int64_t limit_bytes = INT64_MAX;
  int64_t reserve_bytes = 0;
  int64_t oom_kills = -1;
  const char* limit_path = "";
  uint64_t tree = 0;
  uint64_t file_bytes = kDefaultFlightBytes;  // what is wanted; a full disk gets less
};

struct Medium {
  int64_t free_bytes;
  bool is_memory;  // tmpfs: what is reserved there is memory of the same limit
};
// The size of a new file: at most `wanted` and a quarter of what is free, in memory at most a 512th
// of the limit (but no less than the smallest). 0: there is no room for one.
uint64_t affordable_bytes(uint64_t wanted, const Medium& medium, int64_t limit_bytes);

// Makes `<directory>/sessions/<seconds>-<pid>.flight`, reserves its blocks on disk (a full disk is
// an error now and not a SIGBUS later), maps it shared and fills the header. Missing folders are
// made with mode 0700. Refused: a folder that is a symbolic link or belongs to somebody else, and a
// sessions folder that others may write to. Null on failure; the reason (-errno) is in `*error`.
FlightFile* create(const char* directory, const Start& start, char (&path)[kMaxSessionPath],
                   int* error);

// The same in memory alone, for a process without a file: no page of it exists before it is used,
// and the header has no magic (is_in_file). `over` null: anywhere; else a record that create() or
// this made, which is replaced at its address by an empty one of the same size (a forked child's,
// whose parent keeps the file). Null where there are no addresses.
FlightFile* create_in_memory(const Start& start, FlightFile* over);

// Makes a file of the same size for a record in memory, with all that is in it, and maps it over
// that: pointers stay good. What other threads write to the record meanwhile may be lost. False:
// everything is as it was, and the reason (-errno) is in `*error`.
[[nodiscard]] bool move_to_file(FlightFile* memory, const char* directory, const Start& start,
                                char (&path)[kMaxSessionPath], int* error);

// Makes the folder of sessions where it is missing, as create() does. 0, or -errno where no session
// can be made in it.
[[nodiscard]] int prepare_folder(const char* directory);

// At a clean exit: removes the file of a session in which nothing was refused. Does nothing in a
// forked child, which shares its parent's file, and nothing where there was a refusal.
void remove_if_uneventful(const FlightFile* file, const char* path);

// Unmaps what create() or create_in_memory() made, without touching the file.
void detach(FlightFile* file);

}  // namespace oomguard::record
