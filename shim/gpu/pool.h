// Memory pools: charged is what a pool has reserved, as the driver tells, not what was asked of it.
//
// Thread-safety: all. Callable from the GPU hooks.
#pragma once

namespace oomguard::gpu {

// What pools and graphs of this card keep and nobody uses goes back to it, as it would before the
// driver itself refused something. True: something did.
[[nodiscard]] bool release_pools(int device) noexcept;

// A request of a stream that is being captured becomes a node of a graph.
void note_graph_memory() noexcept;
// The part of release_pools that is about graphs.
[[nodiscard]] bool release_graphs(int device) noexcept;

// In a forked child.
void forget_graphs() noexcept;

}  // namespace oomguard::gpu
