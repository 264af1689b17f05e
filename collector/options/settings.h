// Where each option's value comes from: the default, /etc/oomguard.conf, the user's oomguard.conf,
// the environment (which is what a command line becomes). A later one replaces an earlier one, but
// for what the first file locks.
//
// A file has lines `key = value`, where a key is an option's name without its dashes ("enabled" for
// OOMGUARD), comments (#) and, in /etc/oomguard.conf alone, `lock key = value`.
//
// Files may be anybody's: at most kMostFileBytes are read, of a regular file that belongs to root
// (the user's: or to the user) and that not everybody may write to. What is wrong with them is
// told, and the rest holds. Raw system calls, no allocation, nothing is thrown, because the shim
// does it before main. Callable from a hook: no (8 KiB of stack, and files may be slow).
#pragma once

#include "collector/options/options.h"

namespace oomguard::options {

enum class Source : uint8_t { kDefault, kSystemFile, kUserFile, kEnvironment };

enum class Outcome : uint8_t {
  kTaken,
  kNotAccepted,  // no value of this option
  kLocked,       // another value is locked
  kNoOption,     // the file's key is none
  kNoLine,       // no `key = value`
  kMayNotLock,   // in the user's file
  kNotHeeded,    // the whole file
};

// One thing that was found, in the order in which it counts.
struct Found {
  Outcome outcome;
  Source source;
  Id id = Id::kCount;         // where it is about an option
  bool locks = false;         // taken, and locked
  uint32_t line = 0;          // of the file
  const char* name = "";      // the variable (MEM_LIMIT, too), or the file's path
  const char* text = "";      // the value, the line, or why the file is not heeded
  const char* instead = nullptr;  // where the value that holds comes from; null: the default
};
// `found` is gone afterwards, with its texts.
using Tell = void (*)(const Found& found, void* context);

inline constexpr size_t kMostFileBytes = 8192;
inline constexpr size_t kMostPath = 512;

struct Files {
  const char* system = "/etc/oomguard.conf";
  char user[kMostPath] = "";  // "" where neither XDG_CONFIG_HOME nor HOME is an absolute path
};
Files policy_files(const char* const* environ_block);

// OOMGUARD=0 in the environment, which holds whatever files say.
[[nodiscard]] bool switched_off(const char* const* environ_block);

// The settings by all of them. MEM_LIMIT (bytes, set by JupyterHub) is the budget where nothing
// else sets one; a value of it that is no number of bytes was meant for somebody else. `tell` may
// be null.
void read_settings(const char* const* environ_block, const Files& files, Values* out, Tell tell,
                   void* context);

// The option's key in a file.
const char* key_of(const Option& option);

// "oomguard: OOMGUARD_RESERVE=much is not accepted (...); using the default, auto\n". Returns the
// length; 0 where nothing is wrong with it.
size_t describe(const Found& found, char* out, size_t capacity);

}  // namespace oomguard::options
