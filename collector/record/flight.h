// The flight file: what a guarded process leaves behind, complete at every instant.
//
// A file of fixed size in <dir>/sessions/, mapped MAP_SHARED, so that SIGKILL loses nothing. The
// shim writes it, `oomguard report` and the post-mortem read it and treat it as hostile (reader.h
// checks magic, version, sizes and every string's end). It begins with the header and the refusals;
// where the other sections are (timeline.h, stacks.h) follows from its size alone (layout.h) and
// stands in the header.
//
// A leaf: PODs, fixed-width integers, explicit padding, every offset asserted below. Changing the
// layout means a new kVersion; a reader refuses versions that it does not know.
// Thread-safety: writers claim a refusal slot by an atomic ticket; `sequence` is written last with
// release order and read first with acquire order. Callable from a hook: yes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace oomguard::record {

inline constexpr char kMagic[8] = {'O', 'O', 'M', 'F', 'L', 'I', 'T', '\n'};
inline constexpr uint32_t kVersion = 5;
inline constexpr uint32_t kRefusalSlots = 64;   // a ring; an incident's first stay until a later
inline constexpr uint32_t kBlockSlots = 10;     // the ten largest live blocks of a refusal
inline constexpr uint32_t kNeighbourSlots = 8;  // the eight largest other processes of the group
inline constexpr uint32_t kLevelSlots = 16;
inline constexpr uint32_t kHolderSlots = 6;     // the six lines of code that hold most
inline constexpr uint32_t kGroupSlots = 8;      // memory groups of the process, innermost first
inline constexpr uint32_t kCellSlots = 32;      // a notebook's cells that were executed last
inline constexpr uint32_t kGpuSlots = 8;        // cards that the process used, by its number of them
inline constexpr uint32_t kGpuAccounts = 8;
inline constexpr uint32_t kNewestSlots = 16;    // the newest samples of what was asked for

// Parts of the file, in the order of the header's table; the first follows the header.
enum class Section : uint32_t {
  kRefusals, kTimeline, kStrings, kFrames, kNodes, kSites, kModules, kModelFiles
};
inline constexpr uint32_t kSectionCount = 8;

// Writers claim a record (of strings: bytes) by adding to `used`, which may pass `capacity` for a
// moment: what does not fit is counted in `dropped`. Rings (refusals, timeline) are used in full
// from the start.
struct SectionRecord {
  uint64_t offset_bytes;           // from the beginning of the file
  uint32_t record_bytes;
  uint32_t capacity;               // records
  std::atomic<uint32_t> used;
  std::atomic<uint32_t> dropped;
};

enum class EndState : uint32_t {
  kRunning = 0,
  kClean = 1,           // exit was reached
  kEndedByRefusal = 2,  // an uncaught refusal's exception ended the program
  kExecuted = 3,        // the process became another program
  kExited = 4,          // _exit was called, which skips what exit does
  kAsked = 5,           // its user or server asked it to end
};

enum class RequestKind : uint32_t {
  kMalloc = 1, kCalloc, kRealloc, kAligned, kMmap, kMremap, kMprotect, kBrk,
  kFileWrite,  // write and its kin, to a file in memory
  kFileSize,   // ftruncate, fallocate and their kin, of a file in memory
  kPopulate,   // madvise, mlock: fills what is mapped
  kFork,       // the page tables of another process, and the first pages that both write to
  kPinned,     // host memory that a GPU's driver locks
  kGpu,        // a GPU's own memory
  kTouch = 32,  // nobody asked: memory that was granted earlier is being filled (watchdog)
};

enum class Outcome : uint32_t {
  kRefused = 1,    // the request got NULL, ENOMEM or MAP_FAILED
  kException = 2,  // the request was granted (its caller cannot handle NULL) or nobody asked, and
                   // an exception was sent to the program
  kReported = 3,   // --on-limit warn: granted, only recorded
  kEnded = 4,      // nobody asked and nothing else was left: the process was ended
  kByDriver = 5,   // a GPU's own driver had no room (kGpu)
};

struct BlockRecord {
  uint64_t address;
  int64_t size_bytes;
  int64_t touched_bytes;    // -1 unknown
  int64_t age_ms;
  char module[64];          // file name of the module that asked, "" unknown
};

struct NeighbourRecord {
  int32_t pid;
  uint32_t guarded;         // 1: runs under oomguard too
  int64_t resident_bytes;
  char name[32];            // comm
};

// A line of code and what it holds, by the estimate of the samples (stacks.h).
struct HolderRecord {
  int64_t bytes;            // live and really there
  uint32_t line;            // 0 unknown
  uint16_t own_code;        // 1: a person's own, not of Python's library or of an installed package
  uint16_t in_thread;       // 1: its stacks all began in threading.py, and had no line of their own
  char file[112];           // the end of its path; of code that is not Python, the module's
  char function[48];        // "" unknown
};

struct LevelRecord {
  uint32_t kind;            // probe::LimitKind
  uint32_t binds;           // 1: the level that refused
  int64_t limit_bytes;
  int64_t usage_bytes;
  int64_t reclaimable_bytes;
  int64_t swap_room_bytes;
  char path[128];
};

struct RefusalRecord {
  std::atomic<uint64_t> sequence;  // 0: empty or being written; else 1-based number of the refusal
  uint64_t incident;               // refusals of one incident share it
  int64_t at_realtime_ns;
  int64_t at_monotonic_ns;
  int32_t pid;                     // a child's where the error came from one, else the header's
  int32_t thread_id;
  uint32_t kind;                   // RequestKind
  uint32_t outcome;                // Outcome
  int64_t request_bytes;
  int64_t headroom_bytes;          // limit - needed, of the binding level
  int64_t line_bytes;              // the line this request was held to
  int64_t reserve_bytes;
  int64_t in_flight_bytes;         // untouched young blocks of others
  int64_t pending_bytes;           // requests of others that were being decided
  int64_t resident_bytes;          // this process: VmRSS
  int64_t anonymous_bytes;         // this process: RssAnon
  int64_t recorded_bytes;          // sum of the live blocks in the ledger
  uint32_t recorded_blocks;
  uint32_t level_count;
  uint32_t block_count;
  uint32_t neighbour_count;
  uint32_t ancestors_hidden;
  uint32_t surfaced;               // 1: its exception was shown to a person
  char module[64];                 // module that asked
  char thread_name[16];
  // Python line(s), from the surfaced traceback; "" until then. In a notebook one more line may
  // begin with "variables: " and name the largest.
  char where[512];
  LevelRecord levels[kLevelSlots];
  BlockRecord blocks[kBlockSlots];
  NeighbourRecord neighbours[kNeighbourSlots];
  uint32_t holder_count;
  uint32_t recovered;              // 1: the same was granted in the end (kGpu)
  int64_t attributed_bytes;        // live and there, of all call stacks together; -1 unknown
  HolderRecord holders[kHolderSlots];
};

// Pages of mapped files were read from the disk over and over, because they do not fit. The numbers
// are those of the newest time that this was said.
struct RereadRecord {
  std::atomic<uint64_t> times;     // 0: never; the rest is valid where it is more
  int64_t at_realtime_ns;
  int64_t mapped_bytes;            // of the files below, as far as they are mapped
  int64_t read_again_bytes;        // by everybody on the same limit; -1 unknown
  int64_t duration_ms;             // in which they were
  uint64_t major_faults;           // of this process meanwhile
  int64_t limit_bytes;             // the limit that is full; INT64_MAX unknown
  uint32_t files;                  // how many
  uint32_t unused;                 // zero
  char file[64];                   // the one that is read most, without its folder
};

// probe::KillCounts of a group; -1 unknown.
struct KillCountRecord {
  int64_t kills;
  int64_t hits;
  int64_t group_kills;
};

// A memory group of the process, and what the kernel counted of its kills there.
struct GroupRecord {
  uint64_t key;                    // tells a group that was made anew under the same name
  uint32_t kind;                   // probe::LimitKind
  uint32_t unused;                 // zero
  int64_t limit_bytes;             // the one that kills; INT64_MAX none
  KillCountRecord seen;            // while the process ran, every two seconds at the most
  KillCountRecord end;             // after it, where EndRecord says so
  char path[256];
};

// The end of the process, by who looked first after it: whoever started it, or a report. What the
// counters say later is not about this process.
struct EndRecord {
  std::atomic<int64_t> at_realtime_ns;  // of that look; 0: nobody did
  int64_t at_monotonic_ns;
  uint64_t boot_id[2];
  int64_t machine_kills;           // probe::read_machine_kills; -1 unknown
  uint32_t has_wait_status;        // 1: whoever looked had it
  int32_t wait_status;             // as wait answers it
  int32_t sender_pid;              // of the signal that ended it, where that is known; 0 unknown
  uint32_t told;                   // 1: the kernel that replaced it has said so
  char sender_name[16];
};

// The file name by which the interpreter knows a cell's code. Its slot is number % kCellSlots.
struct CellRecord {
  uint32_t number;                 // 0: empty
  char file[60];                   // the end of its path
};

// What of a card an allocation is.
enum class GpuAccount : uint32_t {
  kDevice = 0, kArray, kPool, kVirtual, kGraph, kContext,
  kManaged,  // not part of `held_bytes`: it moves between the card and the host
};

// A card that the process used, as it was at every moment.
struct GpuRecord {
  std::atomic<int64_t> total_bytes;   // 0: it never used this card
  std::atomic<int64_t> budget_bytes;  // INT64_MAX: auto
  std::atomic<int64_t> held_bytes;    // by this process, with what is being asked for
  std::atomic<int64_t> peak_bytes;
  std::atomic<int64_t> by_account[kGpuAccounts];  // GpuAccount
  char name[40];
};

struct FlightHeader {
  char magic[8];
  uint32_t version;
  uint32_t header_bytes;           // sizeof(FlightHeader)
  uint32_t refusal_bytes;          // sizeof(RefusalRecord)
  uint32_t refusal_slots;
  int32_t pid;
  int32_t parent_pid;
  uint32_t uid;
  std::atomic<uint32_t> end_state; // EndState
  uint64_t start_ticks;            // field 22 of /proc/PID/stat: tells a reused pid
  int64_t start_realtime_ns;
  int64_t start_monotonic_ns;
  int64_t start_oom_kills;         // sum over visible levels at start; -1 unknown
  int64_t limit_bytes;             // binding limit at start; INT64_MAX none
  int64_t reserve_bytes;
  uint32_t python_version;         // (major << 16) | minor, 0 where none
  uint32_t is_kernel;              // 1: an IPython kernel
  std::atomic<uint64_t> refusals;  // all, also those without a record
  std::atomic<uint64_t> incidents;
  std::atomic<uint64_t> surfaced;  // exceptions shown to a person
  std::atomic<uint64_t> faults;    // probe or shim failures that were passed through
  std::atomic<int64_t> last_usage_bytes;    // newest sample of the watchdog
  std::atomic<int64_t> last_headroom_bytes;
  std::atomic<int64_t> last_sample_ns;      // CLOCK_MONOTONIC
  char program[256];               // /proc/PID/exe
  char command[1024];              // arguments, those that look like secrets masked, spaces between
  char connection_file[256];       // a kernel's, the key of its successor; "" else
  char limit_path[256];
  uint64_t tree;                   // the same for all of one process tree; 0 unknown
  char ended_because[128];         // why nothing but the end was left (Outcome::kEnded), or the
                                   // option that asks for an end at the limit; "" else
  RereadRecord reread;
  uint64_t boot_id[2];             // 0, 0 unknown
  uint64_t pid_namespace;          // the key of it; 0 unknown
  int64_t machine_kills;           // as GroupRecord::seen, every half a minute at the most
  int32_t oom_score_adj;           // at start
  uint32_t ancestors_hidden;       // 1: there are groups above that cannot be seen
  uint32_t group_count;
  std::atomic<uint32_t> cell;      // a kernel's: number of the cell that it executes; 0 none
  GroupRecord groups[kGroupSlots];
  EndRecord end;
  std::atomic<int64_t> pinned_bytes;      // host memory that a GPU's driver allocated
  std::atomic<int64_t> registered_bytes;  // and what it locked of the program's own
  GpuRecord gpus[kGpuSlots];
  char notebook[256];              // a kernel's, by its server's name for it; "" else
  char cell_source[1024];          // of `cell` the first lines, secrets masked; "" where it is 0
  CellRecord cells[kCellSlots];
  // A ring: the site (its index + 1) in the upper half, KiB that the sample stands for in the
  // lower.
  std::atomic<uint64_t> newest[kNewestSlots];
  std::atomic<uint64_t> newest_count; // ever; newest[newest_count % kNewestSlots] is the next one's
  uint64_t file_bytes;             // of all sections; what layout.h is asked with
  std::atomic<int64_t> live_sampled_bytes;  // estimate over all sites (stacks.h)
  SectionRecord sections[kSectionCount];
  char unused[40];                 // zero
};

// What every flight file begins with.
struct FlightFile {
  FlightHeader header;
  RefusalRecord refusals[kRefusalSlots];
};

// Kept in memory alone where no file could be made (shim/core/session.cc).
inline bool is_in_file(const FlightHeader& header) { return header.magic[0] != '\0'; }

// Something is in it that a person may want to read.
inline bool is_eventful(const FlightHeader& header) {
  return header.refusals.load(std::memory_order_acquire) != 0 ||
         header.reread.times.load(std::memory_order_acquire) != 0;
}

static_assert(std::is_standard_layout_v<FlightFile>);
static_assert(offsetof(FlightHeader, ended_because) % 8 == 0);
static_assert(sizeof(RereadRecord) == 128);
static_assert(offsetof(FlightHeader, reread) % 8 == 0);
static_assert(sizeof(GroupRecord) == 328);
static_assert(offsetof(FlightHeader, boot_id) % 8 == 0);
static_assert(sizeof(EndRecord) == 72);
static_assert(sizeof(CellRecord) == 64);
static_assert(sizeof(GpuRecord) == 136);
static_assert(offsetof(FlightHeader, gpus) % 8 == 0);
static_assert(offsetof(FlightHeader, cell_source) % 8 == 0);
static_assert(sizeof(SectionRecord) == 24);
static_assert(offsetof(FlightHeader, sections) % 8 == 0);
static_assert(sizeof(FlightHeader) % 8 == 0);
static_assert(sizeof(BlockRecord) == 96);
static_assert(sizeof(NeighbourRecord) == 48);
static_assert(sizeof(HolderRecord) == 176);
static_assert(sizeof(LevelRecord) == 168);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

}  // namespace oomguard::record
