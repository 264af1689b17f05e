#include "shim/spill/threads.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include "collector/probe/directory.h"
#include "collector/probe/readable.h"

namespace oomguard::spill {
namespace {

struct Text {
  const char* at;
  const char* end;
};

constinit char g_text[8192];

// "/proc/self/task/ID/name"
void task_path(int32_t thread_id, const char* name, char (&out)[48]) {
  size_t length = 0;
  for (const char* c = "/proc/self/task/"; *c != '\0'; ++c) out[length++] = *c;
  char digits[12];
  size_t count = 0;
  for (int32_t rest = thread_id; rest > 0; rest /= 10) {
    digits[count++] = static_cast<char>('0' + rest % 10);
  }
  while (count > 0) out[length++] = digits[--count];
  for (; *name != '\0'; ++name) out[length++] = *name;
  out[length] = '\0';
}

bool read_task_file(int32_t thread_id, const char* name, Text* out) {
  char path[48];
  task_path(thread_id, name, path);
  const int fd = sys::open(path, O_RDONLY);
  if (fd < 0) return false;
  size_t size = 0;
  for (long got; size < sizeof g_text; size += static_cast<size_t>(got)) {
    got = sys::read(fd, g_text + size, sizeof g_text - size);
    if (got <= 0) break;
  }
  sys::close(fd);
  *out = {g_text, g_text + size};
  return size != 0;
}

// Moves behind "\nkey:" and the blanks that follow. False: no such line.
bool find_line(Text text, const char* key, Text* out) {
  for (const char* at = text.at; at < text.end; ++at) {
    const char* from = at;
    const char* k = key;
    while (from < text.end && *k != '\0' && *from == *k) ++from, ++k;
    if (*k == '\0') {
      while (from < text.end && (*from == ' ' || *from == '\t')) ++from;
      *out = {from, text.end};
      return true;
    }
    while (at < text.end && *at != '\n') ++at;  // the key begins a line
  }
  return false;
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

uint64_t read_number(Text* text, unsigned base) {
  uint64_t value = 0;
  for (; text->at < text->end && digit(*text->at) < static_cast<int>(base); ++text->at) {
    value = value * base + static_cast<unsigned>(digit(*text->at));
  }
  return value;
}

// "nr 0xarg ... 0xsp 0xpc", "-1 0xsp 0xpc", or "running".
void read_call(Text text, ThreadLook* out) {
  if (text.at == text.end || *text.at == 'r') return;
  out->call_known = true;
  if (*text.at == '-') return;
  out->call = static_cast<long>(read_number(&text, 10));
  for (uintptr_t& argument : out->arguments) {
    while (text.at < text.end && *text.at != 'x') ++text.at;
    if (text.at < text.end) ++text.at;
    argument = read_number(&text, 16);
  }
}

bool inside(uintptr_t address, uintptr_t start, uintptr_t end) {
  return address >= start && address < end;
}

// What cannot be read counts as pointing into it.
bool list_points_into(uintptr_t list, size_t count, uintptr_t start, uintptr_t end) {
  if (count > 1024) return true;
  for (size_t i = 0; i < count; ++i) {
    iovec entry;
    if (!sys::read_object(list + i * sizeof entry, &entry)) return true;
    const uintptr_t base = reinterpret_cast<uintptr_t>(entry.iov_base);
    if (inside(base, start, end) || (base < start && entry.iov_len > start - base)) return true;
  }
  return false;
}

bool message_points_into(uintptr_t address, uintptr_t start, uintptr_t end) {
  msghdr message;
  if (!sys::read_object(address, &message)) return true;
  return inside(reinterpret_cast<uintptr_t>(message.msg_name), start, end) ||
         inside(reinterpret_cast<uintptr_t>(message.msg_control), start, end) ||
         list_points_into(reinterpret_cast<uintptr_t>(message.msg_iov), message.msg_iovlen, start,
                          end);
}

enum class Form { kDirect, kList, kMessage, kHidden };

Form form_of(long call) {
  switch (call) {
    case SYS_readv:
    case SYS_writev:
    case SYS_preadv:
    case SYS_pwritev:
    case SYS_preadv2:
    case SYS_pwritev2:
    case SYS_vmsplice:
    case SYS_process_vm_readv:
    case SYS_process_vm_writev:
      return Form::kList;
    case SYS_recvmsg:
    case SYS_sendmsg:
      return Form::kMessage;
    case SYS_recvmmsg:
    case SYS_sendmmsg:
    case SYS_ioctl:
    case SYS_io_submit:
    case SYS_io_getevents:
    case 425:  // io_uring_setup, io_uring_enter, io_uring_register
    case 426:
    case 427:
    case SYS_execve:
    case SYS_execveat:
    case 440:  // process_madvise
      return Form::kHidden;
    default:
      return Form::kDirect;
  }
}

}  // namespace

bool look_at_thread(int32_t thread_id, ThreadLook* out) noexcept {
  *out = ThreadLook{};
  Text text;
  if (!read_task_file(thread_id, "/status", &text)) return false;
  Text line;
  if (!find_line(text, "State:", &line) || line.at == line.end) return false;
  out->state = *line.at;
  if (find_line(text, "SigBlk:", &line)) out->blocked = read_number(&line, 16);
  if (find_line(text, "voluntary_ctxt_switches:", &line)) out->switches = read_number(&line, 10);
  if (!find_line(text, "nonvoluntary_ctxt_switches:", &line)) return true;
  out->switches += read_number(&line, 10);
  // Read last: while a later look finds the same switches, it still stands in this call.
  if (read_task_file(thread_id, "/syscall", &text)) read_call(text, out);
  return true;
}

bool each_thread(void (*visit)(void* context, int32_t thread_id), void* context) noexcept {
  const int fd = sys::open("/proc/self/task", O_RDONLY | O_DIRECTORY);
  if (fd < 0) return false;
  const bool whole = sys::for_each_entry(fd, [&](const char* name) {
    const int32_t id = sys::number_of(name);
    if (id != 0) visit(context, id);
  });
  sys::close(fd);
  return whole;
}

bool shows_its_memory(const ThreadLook& look) noexcept {
  return look.call_known && look.call >= 0 && form_of(look.call) != Form::kHidden;
}

bool points_into(const ThreadLook& look, uintptr_t start, uintptr_t end) noexcept {
  for (const uintptr_t argument : look.arguments) {
    if (inside(argument, start, end)) return true;
  }
  switch (form_of(look.call)) {
    case Form::kList:
      return list_points_into(look.arguments[1], look.arguments[2], start, end);
    case Form::kMessage:
      return message_points_into(look.arguments[1], start, end);
    default:
      return false;
  }
}

bool takes_signals(const ThreadLook& look) noexcept {
  return look.call_known && look.call == SYS_rt_sigtimedwait;
}

}  // namespace oomguard::spill
