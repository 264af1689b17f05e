// The checkpoint files that this process has open or mapped, in its flight file
// (record::ModelFileRecord): files of 1 MiB and more with the name of one.
//
// Callable from a hook: yes, in a thread of the program (one looks at a time, others go on); from
// the raw thread: no (it opens files).
#pragma once

#include <cstdint>

namespace oomguard::model_files {

// Looks where the last time was 2 s ago, or longer where looking takes more than a thousandth of
// the time. One relaxed load where it is not due.
void look_if_due(int64_t now_ns) noexcept;
// Looks now: a refusal's record is being written.
void look(int64_t now_ns) noexcept;
// In fork's child, whose flight file is empty.
void on_fork_child() noexcept;

}  // namespace oomguard::model_files
