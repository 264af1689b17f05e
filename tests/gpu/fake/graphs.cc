// Streams, capture, and graphs whose memory comes with their first launch and stays reserved for
// graphs of the device until it is trimmed.
#include "tests/gpu/fake/streams.h"

#include <cstring>
#include <memory>

namespace fake {
namespace {

struct Stream {
  Graph* graph = nullptr;
};

struct Exec {
  std::vector<Node> allocations;
  bool resident = false;
};

struct GraphPool {
  uint64_t reserved = 0, used = 0;
};

std::map<CUstream, Stream> streams;  // under the world's mutex
std::map<CUdevice, GraphPool> graph_pools;

CUresult stream_create(CUstream* out) {
  if (current() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  const std::lock_guard lock(world().mutex);
  *out = reinterpret_cast<CUstream>(new Stream);
  return CUDA_SUCCESS;
}

CUresult stream_destroy(CUstream stream) {
  const std::lock_guard lock(world().mutex);
  streams.erase(stream);
  return CUDA_SUCCESS;
}

CUresult begin(CUstream stream) {
  const std::lock_guard lock(world().mutex);
  if (streams[stream].graph != nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  streams[stream].graph = new Graph;
  return CUDA_SUCCESS;
}

CUresult end(CUstream stream, CUgraph* out) {
  const std::lock_guard lock(world().mutex);
  if (streams[stream].graph == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  *out = reinterpret_cast<CUgraph>(streams[stream].graph);
  streams[stream].graph = nullptr;
  return CUDA_SUCCESS;
}

CUresult is_capturing(CUstream stream, CUstreamCaptureStatus* status) {
  const std::lock_guard lock(world().mutex);
  *status = captured(stream) != nullptr ? CU_STREAM_CAPTURE_STATUS_ACTIVE
                                        : CU_STREAM_CAPTURE_STATUS_NONE;
  return CUDA_SUCCESS;
}

CUresult synchronize() {
  trim_pools();
  return CUDA_SUCCESS;
}

CUresult add_alloc(CUgraphNode* out, CUgraph graph, const CUmemLocation& location, uint64_t bytes,
                   CUdeviceptr* address) {
  if (graph == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (location.type != CU_MEM_LOCATION_TYPE_DEVICE || !ordinal_ok(location.id)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const std::lock_guard lock(world().mutex);
  *address = add_alloc_node(reinterpret_cast<Graph*>(graph), location.id, bytes);
  *out = reinterpret_cast<CUgraphNode>(*address);
  return CUDA_SUCCESS;
}

CUresult add_free(CUgraphNode* out, CUgraph graph, CUdeviceptr address) {
  if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(world().mutex);
  reinterpret_cast<Graph*>(graph)->nodes.push_back({0, address, 0});
  *out = reinterpret_cast<CUgraphNode>(address + 1);
  return CUDA_SUCCESS;
}

CUresult add_node(CUgraphNode* out, CUgraph graph, CUgraphNodeParams* p) {
  switch (p->type) {
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
      return add_alloc(out, graph, p->alloc.poolProps.location, p->alloc.bytesize, &p->alloc.dptr);
    case CU_GRAPH_NODE_TYPE_MEM_FREE: return add_free(out, graph, p->free.dptr);
    default: return CUDA_ERROR_NOT_SUPPORTED;
  }
}

CUresult instantiate(CUgraphExec* out, CUgraph graph) {
  if (out == nullptr || graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(world().mutex);
  auto exec = std::make_unique<Exec>();
  for (const Node& node : reinterpret_cast<Graph*>(graph)->nodes) {
    if (node.bytes != 0) exec->allocations.push_back(node);
  }
  *out = reinterpret_cast<CUgraphExec>(exec.release());
  return CUDA_SUCCESS;
}

CUresult make_resident(CUgraphExec handle) {
  if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(world().mutex);
  Exec& exec = *reinterpret_cast<Exec*>(handle);
  if (exec.resident) return CUDA_SUCCESS;
  for (size_t i = 0; i < exec.allocations.size(); ++i) {
    const Node& node = exec.allocations[i];
    GraphPool& pool = graph_pools[node.device];
    if (pool.used + node.bytes > pool.reserved) {
      const uint64_t more = round_up(pool.used + node.bytes - pool.reserved, kPoolPiece);
      if (!take(node.device, FAKE_CUDA_GRAPH, more)) {
        while (i-- > 0) graph_pools[exec.allocations[i].device].used -= exec.allocations[i].bytes;
        return CUDA_ERROR_OUT_OF_MEMORY;
      }
      pool.reserved += more;
    }
    pool.used += node.bytes;
  }
  exec.resident = true;
  return CUDA_SUCCESS;
}

}  // namespace

Graph* captured(CUstream stream) {
  const auto found = streams.find(stream);
  return found == streams.end() ? nullptr : found->second.graph;
}

CUdeviceptr add_alloc_node(Graph* graph, CUdevice device, uint64_t bytes) {
  const CUdeviceptr address = make_address(bytes);
  graph->nodes.push_back({device, address, bytes});
  return address;
}

}  // namespace fake

using namespace fake;

#define FAKE_CUDA_ONE(symbol, parameters, result) \
  CUresult symbol parameters {                    \
    FAKE_CUDA_ENTER(symbol);                      \
    return result;                                \
  }
#define FAKE_CUDA_BOTH(symbol, parameters, result) \
  FAKE_CUDA_ONE(symbol, parameters, result)        \
  FAKE_CUDA_ONE(symbol##_ptsz, parameters, result)

extern "C" {

FAKE_CUDA_ONE(cuStreamCreate, (CUstream * out, unsigned), stream_create(out))
FAKE_CUDA_ONE(cuStreamDestroy, (CUstream stream), stream_destroy(stream))
FAKE_CUDA_ONE(cuStreamDestroy_v2, (CUstream stream), stream_destroy(stream))
FAKE_CUDA_BOTH(cuStreamSynchronize, (CUstream), synchronize())
FAKE_CUDA_BOTH(cuStreamBeginCapture_v2, (CUstream stream, CUstreamCaptureMode), begin(stream))
FAKE_CUDA_BOTH(cuStreamEndCapture, (CUstream stream, CUgraph* out), end(stream, out))
FAKE_CUDA_BOTH(cuStreamIsCapturing, (CUstream stream, CUstreamCaptureStatus* status),
               is_capturing(stream, status))

CUresult cuGraphCreate(CUgraph* out, unsigned) {
  FAKE_CUDA_ENTER(cuGraphCreate);
  *out = reinterpret_cast<CUgraph>(new Graph);
  return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph graph) {
  FAKE_CUDA_ENTER(cuGraphDestroy);
  delete reinterpret_cast<Graph*>(graph);
  return CUDA_SUCCESS;
}

FAKE_CUDA_ONE(cuGraphAddMemAllocNode,
              (CUgraphNode * out, CUgraph graph, const CUgraphNode*, size_t,
               CUDA_MEM_ALLOC_NODE_PARAMS* p),
              add_alloc(out, graph, p->poolProps.location, p->bytesize, &p->dptr))
FAKE_CUDA_ONE(cuGraphAddMemFreeNode,
              (CUgraphNode * out, CUgraph graph, const CUgraphNode*, size_t, CUdeviceptr address),
              add_free(out, graph, address))
FAKE_CUDA_ONE(cuGraphAddNode,
              (CUgraphNode * out, CUgraph graph, const CUgraphNode*, size_t, CUgraphNodeParams* p),
              add_node(out, graph, p))
FAKE_CUDA_ONE(cuGraphAddNode_v2,
              (CUgraphNode * out, CUgraph graph, const CUgraphNode*, const CUgraphEdgeData*, size_t,
               CUgraphNodeParams* p),
              add_node(out, graph, p))
FAKE_CUDA_ONE(cuGraphInstantiateWithFlags,
              (CUgraphExec * out, CUgraph graph, unsigned long long), instantiate(out, graph))
FAKE_CUDA_BOTH(cuGraphInstantiateWithParams,
               (CUgraphExec * out, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS*),
               instantiate(out, graph))
FAKE_CUDA_BOTH(cuGraphUpload, (CUgraphExec exec, CUstream), make_resident(exec))
FAKE_CUDA_BOTH(cuGraphLaunch, (CUgraphExec exec, CUstream), make_resident(exec))

CUresult cuGraphExecDestroy(CUgraphExec handle) {
  FAKE_CUDA_ENTER(cuGraphExecDestroy);
  const std::lock_guard lock(world().mutex);
  Exec* exec = reinterpret_cast<Exec*>(handle);
  for (const Node& node : exec->allocations) {
    if (exec->resident) graph_pools[node.device].used -= node.bytes;
  }
  delete exec;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGraphMemTrim(CUdevice device) {
  FAKE_CUDA_ENTER(cuDeviceGraphMemTrim);
  if (!ordinal_ok(device)) return CUDA_ERROR_INVALID_DEVICE;
  const std::lock_guard lock(world().mutex);
  GraphPool& pool = graph_pools[device];
  const uint64_t keep = round_up(pool.used, kPoolPiece);
  give(device, FAKE_CUDA_GRAPH, pool.reserved - keep);
  pool.reserved = keep;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetGraphMemAttribute(CUdevice device, CUgraphMem_attribute attribute, void* out) {
  FAKE_CUDA_ENTER(cuDeviceGetGraphMemAttribute);
  if (!ordinal_ok(device)) return CUDA_ERROR_INVALID_DEVICE;
  const std::lock_guard lock(world().mutex);
  const GraphPool& pool = graph_pools[device];
  *static_cast<cuuint64_t*>(out) =
      attribute == CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT ? pool.used : pool.reserved;
  return CUDA_SUCCESS;
}

}  // extern "C"
