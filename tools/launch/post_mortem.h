// What `oomguard run` says after the program that it started has died.
//
// Thread-safety: one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "collector/record/flight.h"
#include "tools/launch/supervise.h"

namespace oomguard::tools {

class PostMortem {
 public:
  // Before the program is started: reads what the kernel has counted so far. `directory` of the
  // sessions.
  explicit PostMortem(std::string directory);

  // The program has ended. Leaves its exit status in its session, and says on stderr what it died
  // of, in a pod in the file for that, too. Says nothing where it ended by itself, where its own
  // report was the last word, where the signal that ended it came through here, and after Ctrl-C.
  void after(const std::string& program, const Ended& ended);

  // Its session says that an uncaught refusal ended it, or oomguard.
  bool ended_by_refusal() const { return ended_by_refusal_; }

 private:
  std::string session_of(pid_t pid) const;  // its newest one; "" none
  void explain(const std::string& program, const Ended& ended, const std::string& session);

  std::string directory_;
  int64_t since_seconds_;
  std::unique_ptr<record::FlightHeader> seen_;
  bool ended_by_refusal_ = false;
};

}  // namespace oomguard::tools
