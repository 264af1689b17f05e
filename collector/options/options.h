// The one table of options: each has a command-line spelling, an environment variable, a default,
// the accepted forms and a help line (options.def). `--help`, `oomguard env`, the README and the
// shim derive from it. It lists only what works. What sets them is in settings.h.
//
// A leaf. Parsing is allocation-free and throws nothing, because the shim does it before main.
// Callable from a hook: yes. Thread-safety: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>

// The forms of an option that is on or off; on the command line it is a flag without a value.
#define OOMGUARD_SWITCH_FORMS "1 or 0"

namespace oomguard::options {

enum class Id : uint8_t {
#define OOMGUARD_OPTION(id, flag, variable, forms, fallback, help) id,
#include "collector/options/options.def"
#undef OOMGUARD_OPTION
  kCount
};

// CPython cannot start with less than about 10 MiB.
inline constexpr int64_t kLeastBudget = int64_t{16} << 20;

inline constexpr int64_t kLeastFlight = int64_t{1} << 20;
inline constexpr int64_t kMostFlight = int64_t{1} << 30;

struct Option {
  Id id;
  const char* flag;      // "--budget"; "" for a variable without an option (OOMGUARD)
  const char* variable;  // "OOMGUARD_BUDGET"
  const char* forms;  // accepted values as a person reads them: "auto, a size (28G, 512MiB), ..."
  const char* fallback;  // the default as a person reads it
  const char* help;      // one sentence
};
extern const Option kTable[static_cast<size_t>(Id::kCount)];

enum class Children : uint8_t { kPython, kAll, kNone };
enum class Overcommit : uint8_t { kLend, kRefuse };
enum class OnLimit : uint8_t { kRaise, kWarn, kExit };
enum class Allocator : uint8_t { kSystem, kJemalloc };
enum class View : uint8_t { kBudget, kHost };

inline constexpr int kGpuBudgets = 16;
inline constexpr int kEveryGpu = -1;

// A budget of GPU memory. Where neither is set the entry stands for auto.
struct GpuBudget {
  int32_t gpu = kEveryGpu;      // by the number that the program knows it by
  uint32_t share_permille = 0;  // of the card's memory; 0 = none
  int64_t bytes = -1;           // a size; -1 = none
};

struct Values {
  bool enabled = true;                 // OOMGUARD=0 turns everything off
  int64_t budget_bytes = -1;           // a size; -1 = none configured
  uint32_t budget_share_permille = 0;  // a share of the kernel's limit; 0 = none
  GpuBudget gpu_budgets[kGpuBudgets];
  int32_t gpu_budget_count = 0;        // 0 = auto
  bool gpu_audit = false;              // CUPTI's books are compared with the ledger's
  int64_t reserve_bytes = -1;          // replaces the computed reserve; -1 = computed
  uint32_t swap_share_permille = 500;
  Overcommit overcommit = Overcommit::kLend;
  Children children = Children::kPython;
  OnLimit on_limit = OnLimit::kRaise;
  Allocator allocator = Allocator::kSystem;  // for the tools, which write LD_PRELOAD
  char spill_directory[256] = "";  // "" = found at the first need
  int64_t spill_limit_bytes = -1;  // -1 = computed
  int64_t sample_mean_bytes = 512 * 1024;  // 0 = no call stacks
  View view = View::kBudget;
  int32_t refusal_exit_code = 0;  // status of a run ended by an uncaught refusal; 0 = keep
  bool keep_frames = false;
  char directory[256] = "";  // "" = the default of default_directory()
  int64_t flight_bytes = int64_t{16} << 20;
};

// The value of a variable in an environment (a NULL-terminated array of "K=V"), or null. An empty
// value counts as not set: that is how a shell or a container manifest usually says "nothing".
const char* find_variable(const char* const* environ_block, const char* name);

// The budget that holds for a GPU; null where it is auto.
const GpuBudget* gpu_budget_of(const Values& values, int gpu);

// The option is on or off: a flag without a value on the command line.
bool is_switch(const Option& option);

// Parses one value into `out`. False: not accepted, `out` is untouched.
[[nodiscard]] bool parse(Id id, const char* value, Values* out);

// Sizes as people write them: 28G, 512MiB, 1.5GB, 4096, 10K. G and GiB are powers of two, GB of
// ten. False where the text is none or does not fit 63 bits.
[[nodiscard]] bool parse_bytes(const char* text, int64_t* out);
// "80%", "12.5%": 1 to 1000 permille.
[[nodiscard]] bool parse_share(const char* text, uint32_t* permille);

// "5.4 GiB", "512 MiB", "16 bytes": how reports and tools write bytes. Returns the length.
size_t format_bytes(int64_t bytes, char* out, size_t capacity);

// The folder of sessions where OOMGUARD_DIR is not set: TMPDIR (or /tmp) + "/oomguard-<uid>".
size_t default_directory(const char* const* environ_block, unsigned uid, char* out,
                         size_t capacity);

}  // namespace oomguard::options
