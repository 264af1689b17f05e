// A page of the file that the disk has no room for is SIGBUS in whoever writes to it. Then the page
// becomes private memory again, with what it held; by one thread at a time. Every other SIGBUS goes
// to the handler that was there before, or does what it would have done.
//
// Thread-safety: install from the raw thread; the handler runs in any thread of the program and
// makes system calls only. Callable from a hook: no.
#pragma once

namespace oomguard::spill {

// At the first lend, and again when the program has put its own handler in front.
void answer_sigbus() noexcept;

// A thread is about to put a private page in place of a lent one: what stands there may not be
// replaced. While the threads stand.
bool is_answering_sigbus() noexcept;
// The thread that was is not in fork's child.
void forget_sigbus() noexcept;

}  // namespace oomguard::spill
