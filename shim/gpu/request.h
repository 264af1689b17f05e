// What is asked of a card. Plain values.
#pragma once

#include <cstdint>

#include "shim/gpu/abi.h"
#include "shim/gpu/ledger.h"

namespace oomguard::gpu {

struct Request {
  int device;
  Account account;
  Bytes size;
  uintptr_t caller;  // return address
};

}  // namespace oomguard::gpu
