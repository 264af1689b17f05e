// Who holds the memory, as a flight file keeps it: call stacks that allocated, with live bytes.
//
// A site is one call stack (a Python and a native one), each a path in a tree of nodes from the
// outermost frame (a child of node 0, the empty stack) to the leaf. A node's parent always has a
// smaller index; readers check it, so there are no cycles. Nodes, frames and strings are interned
// and never change once they are published, so that a reader needs no lock and SIGKILL tears
// nothing: what refers to a record is written after it.
//
// Strings are bytes in one pool; a string's id is its offset. Id 0 is "" (the pool begins with a
// NUL, `used` with 1). Every string ends with NUL and has at most kLongestString bytes before it.
//
// PODs only. Atomics: `kind`, `frame`, `state` are stored last (release) and read first (acquire).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace oomguard::record {

inline constexpr uint32_t kLongestString = 1023;

enum class FrameKind : uint32_t { kPython = 1, kNative = 2 };

struct FrameRecord {
  std::atomic<uint32_t> kind;      // FrameKind; 0: not written yet
  uint32_t line;                   // Python: the line being executed, 0 unknown
  uint32_t file;                   // Python: string id; native: its module's index + 1, 0 unknown
  uint32_t function;               // Python: string id of the qualified name; native: 0
  uint64_t offset;                 // native: return address minus the module's load bias; without a
                                   // module the address itself
  uint32_t first_line;             // Python: of the function
  uint32_t own_code;               // Python: 1 where the file is a person's own (own_code.h)
};

// In NodeRecord::frame: this Python frame is the outermost one of its C evaluation-loop call. From
// 3.11 on several Python frames share one; before, every frame is an entry.
inline constexpr uint32_t kEntry = uint32_t{1} << 31;

struct NodeRecord {
  uint32_t parent;                 // index of a node, smaller than this one's
  std::atomic<uint32_t> frame;     // index of its FrameRecord + 1, and kEntry; 0: not written yet
};

struct SiteRecord {
  std::atomic<uint32_t> state;     // 1 once the nodes are valid
  uint32_t python_node;            // leaf of the Python stack, 0 none
  uint32_t native_node;            // leaf of the native stack, 0 none
  uint32_t unused;
  std::atomic<int64_t> live_bytes;       // estimates: the sum of the samples' weights
  std::atomic<int64_t> live_blocks;
  std::atomic<int64_t> allocated_bytes;  // ever
  std::atomic<int64_t> allocated_blocks;
  std::atomic<int64_t> untouched_bytes;  // of live blocks >= 1 MiB: not there at the newest look
  std::atomic<int64_t> refused_bytes;    // live and there when a request was refused last
};

struct ModuleRecord {
  uint64_t start;                  // addresses in the process: [start, end)
  uint64_t end;
  uint64_t bias;                   // load bias: what FrameRecord::offset was made with
  uint8_t build_id[32];
  uint32_t build_id_bytes;         // 0: it has none
  std::atomic<uint32_t> state;     // 1 once the rest is valid
  uint32_t path;                   // string id
  uint32_t unused;
};

// A checkpoint that was open or mapped.
struct ModelFileRecord {
  std::atomic<uint32_t> state;     // 1 once the rest is valid
  uint32_t path;                   // string id
  int64_t size_bytes;
  int64_t mapped_bytes;            // of it, when it was seen last; 0: open but not mapped
  int64_t seen_ns;                 // CLOCK_MONOTONIC
};

static_assert(sizeof(FrameRecord) == 32);
static_assert(sizeof(NodeRecord) == 8);
static_assert(sizeof(SiteRecord) == 64);
static_assert(sizeof(ModuleRecord) == 72);
static_assert(sizeof(ModelFileRecord) == 32);

}  // namespace oomguard::record
