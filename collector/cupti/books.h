// What CUPTI's records say is held: sums of what was allocated less what was released, so that the
// order in which records come does not matter. Thread-safety: one thread at a time.
#pragma once

#include <cupti.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "collector/cupti/audit.h"

namespace oomguard::cupti {

class Books {
 public:
  // Reads MEMORY2 and MEMORY_POOL records, by their kind and by what all versions of their
  // structures begin with; any other is passed over.
  void enter(const CUpti_Activity& record);

  // A line for each class that either side holds something of, and for each difference one for each
  // place of a call that the ledger does not know. `name_of` turns an instruction's address into
  // words.
  std::vector<std::string> compare(const OomguardAuditLedger& ledger,
                                   std::string (*name_of)(uint64_t pc)) const;

  uint64_t records() const { return records_; }
  // Bytes of a class on a device (-1: the host) as CUPTI has them.
  int64_t held(int device, int kind) const;

 private:
  struct Block {
    int64_t bytes = 0;
    int device = 0;
    int kind = 0;
    uint64_t pc = 0;
  };
  struct Pool {
    int device = 0;
    uint64_t bytes = 0;
    uint64_t timestamp = 0;
  };

  void enter_memory(const CUpti_ActivityMemory4& record);
  void enter_pool(const CUpti_ActivityMemoryPool3& record);
  void note_pool(uint64_t address, int device, uint64_t bytes, uint64_t timestamp);

  uint64_t records_ = 0;
  std::map<uint64_t, Block> blocks_;  // by address; what sums up to nothing is left out
  std::map<uint64_t, Pool> pools_;
};

}  // namespace oomguard::cupti
