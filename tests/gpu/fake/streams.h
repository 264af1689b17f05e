// Streams and the graphs that they capture.
#ifndef OOMGUARD_TESTS_GPU_FAKE_STREAMS_H
#define OOMGUARD_TESTS_GPU_FAKE_STREAMS_H

#include "tests/gpu/fake/arena.h"

namespace fake {

struct Node {
  CUdevice device;
  CUdeviceptr address;
  uint64_t bytes;  // 0: a node that frees
};

struct Graph {
  std::vector<Node> nodes;
};

// The graph that a stream captures into, or null.
Graph* captured(CUstream stream);
// Adds a node that allocates; its address is known at once, its memory comes with a launch.
CUdeviceptr add_alloc_node(Graph* graph, CUdevice device, uint64_t bytes);
// What pools keep above their threshold goes back when a stream is waited for.
void trim_pools();

}  // namespace fake

#endif  // OOMGUARD_TESTS_GPU_FAKE_STREAMS_H
