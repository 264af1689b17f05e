// Reads what follows the refusals in a flight file: a part of reader.h.
// Thread-safety: no shared state. Callable from a hook: no (it allocates).
#pragma once

#include "collector/record/layout.h"
#include "collector/record/reader.h"

namespace oomguard::record {

class SectionReader {
 public:
  // `flight` has its header, and the table in it was checked.
  SectionReader(int fd, Flight* flight)
      : fd_(fd), flight_(flight), layout_(layout_for(flight->header().file_bytes)) {}
  // What cannot be read is left out.
  void read();

 private:
  // The records of a section that are in use now. What refers to others is read before them: it was
  // written after them.
  template <typename Record>
  std::vector<Record> records(Section section) const;
  void read_samples();
  void read_sites();

  int fd_;
  Flight* flight_;
  Layout layout_;
};

}  // namespace oomguard::record
