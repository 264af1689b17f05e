// What tests ask of the fake driver (libcuda.so.1 of this folder) beside the driver's own
// functions. Found by dlsym, so that one probe program also runs on a real driver. Thread-safe.
//
// Set before the driver is loaded:
//   FAKE_CUDA_DEVICES=80G,24G     the cards, with their sizes (default: one of 80G)
//   FAKE_CUDA_OTHERS=0:4242:40G   other processes on a card: card:pid:bytes, comma separated
//   FAKE_CUDA_CONTEXT=300M        what a context takes (default 0)
//   FAKE_CUDA_VERSION=12040       the driver's version (default: the toolkit's)
//   FAKE_CUDA_FAIL=cuMemAlloc_v2:3:1:2   fail_from:how often:status (see fake_cuda_fail)
//   FAKE_CUDA_STATE=FILE          the cards are shared by all processes that name this file
//   FAKE_CUDA_CONTAINER=1         NVML names no process, as in a container
//   FAKE_CUDA_TELLS_US=300000     NVML takes so long to name processes, by what it read before
//   FAKE_CUDA_ASKED=FILE          a line a cuGetProcAddress: name version flags symbol caller
// CUDA_VISIBLE_DEVICES holds as with a real driver: ordinals, UUIDs (GPU-...) and MIG names.
#ifndef OOMGUARD_TESTS_GPU_FAKE_FAKE_CUDA_H
#define OOMGUARD_TESTS_GPU_FAKE_FAKE_CUDA_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum fake_cuda_kind {
  FAKE_CUDA_DEVICE,
  FAKE_CUDA_MANAGED,  // outside of the card's sum: it moves
  FAKE_CUDA_ARRAY,
  FAKE_CUDA_POOL,  // reserved, in pieces of 32 MiB
  FAKE_CUDA_VMM,
  FAKE_CUDA_GRAPH,
  FAKE_CUDA_CONTEXT,
  FAKE_CUDA_KINDS,
};

// Bytes that a card holds now, of one kind or (kind < 0) of all but managed ones.
uint64_t fake_cuda_held(int card, int kind);
// The most that a card held at any instant without contexts, managed memory and other processes.
uint64_t fake_cuda_peak(int card);
// Bytes of page-locked host memory: allocated or registered.
uint64_t fake_cuda_host(int registered);
// How often a function was called, by its exported name; 0 for unknown names.
uint64_t fake_cuda_calls(const char* symbol);
// From its (skip + 1)-th call on from now, `count` calls of a function return `status`.
void fake_cuda_fail(const char* symbol, uint64_t skip, uint64_t count, int status);
// Every allocating function waits so long between its decision and its return.
void fake_cuda_delay(unsigned microseconds);
// The fake's own address of an exported function, whatever interposes it; null for unknown names.
void* fake_cuda_address(const char* symbol);

#ifdef __cplusplus
}
#endif

#endif  // OOMGUARD_TESTS_GPU_FAKE_FAKE_CUDA_H
