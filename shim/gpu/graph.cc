// Hooks of graphs that allocate. A graph's memory comes with its first launch, and stays for the
// next; how much it is the driver tells then. A node that could not have what it asks for is
// refused when it is added.
#include <algorithm>
#include <atomic>

#include "shim/gpu/budget.h"
#include "shim/gpu/driver.h"
#include "shim/gpu/pool.h"

namespace oomguard::gpu {
namespace {

constinit std::atomic<bool> g_has_memory{false};  // some graph of this process allocates
constinit std::atomic<Bytes> g_reserved[kCards] = {};

// What the driver keeps for graphs of this card, charged as it is now. Answers what it was less.
Bytes refresh(int device) noexcept {
  uint64_t value = 0;
  if (!Ledger::is_card(device) || driver.cuDeviceGetGraphMemAttribute == nullptr) return 0;
  Bytes less = 0;
  for (int i = 0; i < 4; ++i) {  // another thread may have written an older reading
    if (driver.cuDeviceGetGraphMemAttribute(device, kGraphReserved, &value) != kSuccess) break;
    const auto now = static_cast<Bytes>(value);
    const Bytes before = g_reserved[device].exchange(now);
    if (before == now) break;
    ledger.grow(device, Account::kGraph, now - before, 0);
    less += before - now;
  }
  return less;
}

CUresult launched(CUresult status) noexcept {
  if (g_has_memory.load(std::memory_order_relaxed)) [[unlikely]] refresh(current_card());
  return status;
}

template <typename Call>
CUresult add_node(const CUmemAllocNodeParams* params, const void* caller, Call call) noexcept {
  if (params == nullptr || params->pool.location.type != kLocationDevice) return call();
  note_graph_memory();
  const Bytes size = static_cast<Bytes>(std::min<size_t>(params->size, size_t{1} << 60));
  Charge charge(params->pool.location.id, Account::kGraph, size, size, caller);
  const CUresult status = charge.granted() ? call() : kOutOfMemory;
  if (status == kSuccess) charge.commit(0);  // the launch takes it
  return status;
}

const CUmemAllocNodeParams* alloc_of(const CUgraphNodeParams* params) noexcept {
  return params != nullptr && params->type == kNodeMemAlloc ? &params->alloc : nullptr;
}

}  // namespace

void note_graph_memory() noexcept { g_has_memory.store(true, std::memory_order_relaxed); }

bool release_graphs(int device) noexcept {
  if (!g_has_memory.load(std::memory_order_relaxed)) return false;
  driver.cuDeviceGraphMemTrim(device);
  return refresh(device) > 0;
}

void forget_graphs() noexcept {
  g_has_memory.store(false, std::memory_order_relaxed);
  for (std::atomic<Bytes>& reserved : g_reserved) reserved.store(0, std::memory_order_relaxed);
}

CUresult oomguard_gpu_cuGraphAddMemAllocNode(CUgraphNode* node, CUgraph graph,
                                             const CUgraphNode* dependencies, size_t count,
                                             CUmemAllocNodeParams* params) noexcept {
  return add_node(params, __builtin_return_address(0), [=] {
    return driver.cuGraphAddMemAllocNode(node, graph, dependencies, count, params);
  });
}

CUresult oomguard_gpu_cuGraphAddNode(CUgraphNode* node, CUgraph graph,
                                     const CUgraphNode* dependencies, size_t count,
                                     CUgraphNodeParams* params) noexcept {
  return add_node(alloc_of(params), __builtin_return_address(0), [=] {
    return driver.cuGraphAddNode(node, graph, dependencies, count, params);
  });
}

CUresult oomguard_gpu_cuGraphAddNode_v2(CUgraphNode* node, CUgraph graph,
                                        const CUgraphNode* dependencies, const void* edges,
                                        size_t count, CUgraphNodeParams* params) noexcept {
  return add_node(alloc_of(params), __builtin_return_address(0), [=] {
    return driver.cuGraphAddNode_v2(node, graph, dependencies, edges, count, params);
  });
}

CUresult oomguard_gpu_cuGraphUpload(CUgraphExec graph, CUstream stream) noexcept {
  return launched(driver.cuGraphUpload(graph, stream));
}

CUresult oomguard_gpu_cuGraphUpload_ptsz(CUgraphExec graph, CUstream stream) noexcept {
  return launched(driver.cuGraphUpload_ptsz(graph, stream));
}

CUresult oomguard_gpu_cuGraphLaunch(CUgraphExec graph, CUstream stream) noexcept {
  return launched(driver.cuGraphLaunch(graph, stream));
}

CUresult oomguard_gpu_cuGraphLaunch_ptsz(CUgraphExec graph, CUstream stream) noexcept {
  return launched(driver.cuGraphLaunch_ptsz(graph, stream));
}

CUresult oomguard_gpu_cuDeviceGraphMemTrim(CUdevice device) noexcept {
  const CUresult status = driver.cuDeviceGraphMemTrim(device);
  if (g_has_memory.load(std::memory_order_relaxed)) refresh(device);
  return status;
}

}  // namespace oomguard::gpu
