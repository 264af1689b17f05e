#include "collector/options/options.h"

#include <cstring>
#include <initializer_list>

namespace oomguard::options {

const Option kTable[static_cast<size_t>(Id::kCount)] = {
#define OOMGUARD_OPTION(id, flag, variable, forms, fallback, help) \
  {Id::id, flag, variable, forms, fallback, help},
#include "collector/options/options.def"
#undef OOMGUARD_OPTION
};

namespace {

// A longer folder would not leave room for a session's name in the paths that the shim keeps.
constexpr size_t kMaxDirectory = 200;

bool equals(const char* a, const char* b) { return strcmp(a, b) == 0; }

bool parse_switch(const char* value, bool* out) {
  for (const char* word : {"1", "on", "yes", "true"}) {
    if (equals(value, word)) return *out = true, true;
  }
  for (const char* word : {"0", "off", "no", "false"}) {
    if (equals(value, word)) return *out = false, true;
  }
  return false;
}

bool parse_budget(const char* value, Values* out) {
  int64_t bytes = -1;
  uint32_t permille = 0;
  const bool accepted = equals(value, "auto") || parse_share(value, &permille) ||
                        (parse_bytes(value, &bytes) && bytes >= kLeastBudget);
  if (!accepted) return false;
  out->budget_bytes = bytes;
  out->budget_share_permille = permille;
  return true;
}

// One item of a list: `text` up to `end`.
bool parse_gpu_budget(const char* text, const char* end, GpuBudget* out) {
  char item[32];
  const auto length = static_cast<size_t>(end - text);
  if (length == 0 || length >= sizeof item) return false;
  memcpy(item, text, length);
  item[length] = '\0';
  const char* value = item;
  if (char* sign = strchr(item, '='); sign != nullptr) {
    *sign = '\0';
    value = sign + 1;
    const char* digit = item;
    for (out->gpu = 0; *digit >= '0' && *digit <= '9' && out->gpu < 100; ++digit) {
      out->gpu = out->gpu * 10 + (*digit - '0');
    }
    if (digit == item || *digit != '\0') return false;
  }
  return equals(value, "auto") || parse_share(value, &out->share_permille) ||
         (parse_bytes(value, &out->bytes) && out->bytes >= kLeastBudget);
}

bool parse_gpu_budgets(const char* value, Values* out) {
  GpuBudget found[kGpuBudgets];
  int32_t count = 0;
  for (const char* at = value;; ++at) {
    const char* comma = strchr(at, ',');
    const char* end = comma != nullptr ? comma : at + strlen(at);
    if (count == kGpuBudgets || !parse_gpu_budget(at, end, &found[count])) return false;
    ++count;
    if (comma == nullptr) break;
    at = comma;
  }
  memcpy(out->gpu_budgets, found, sizeof found);
  out->gpu_budget_count = count;
  return true;
}

bool parse_reserve(const char* value, Values* out) {
  int64_t bytes = -1;
  if (!equals(value, "auto") && !parse_bytes(value, &bytes)) return false;
  out->reserve_bytes = bytes;
  return true;
}

bool parse_swap_share(const char* value, Values* out) {
  uint32_t permille = 0;
  if (!equals(value, "0") && !equals(value, "0%") && !parse_share(value, &permille)) return false;
  out->swap_share_permille = permille;
  return true;
}

// Index of `value` in `words`, or -1.
template <size_t N>
int index_of(const char* value, const char* const (&words)[N]) {
  for (size_t i = 0; i < N; ++i) {
    if (equals(value, words[i])) return static_cast<int>(i);
  }
  return -1;
}

bool parse_children(const char* value, Values* out) {
  static constexpr const char* kWords[] = {"python", "all", "none"};
  const int index = index_of(value, kWords);
  if (index < 0) return false;
  out->children = static_cast<Children>(index);
  return true;
}

bool parse_overcommit(const char* value, Values* out) {
  static constexpr const char* kWords[] = {"lend", "refuse"};
  const int index = index_of(value, kWords);
  if (index < 0) return false;
  out->overcommit = static_cast<Overcommit>(index);
  return true;
}

bool parse_on_limit(const char* value, Values* out) {
  static constexpr const char* kWords[] = {"raise", "warn", "exit"};
  const int index = index_of(value, kWords);
  if (index < 0) return false;
  out->on_limit = static_cast<OnLimit>(index);
  return true;
}

bool parse_allocator(const char* value, Values* out) {
  static constexpr const char* kWords[] = {"system", "jemalloc"};
  const int index = index_of(value, kWords);
  if (index < 0) return false;
  out->allocator = static_cast<Allocator>(index);
  return true;
}

bool parse_view(const char* value, Values* out) {
  static constexpr const char* kWords[] = {"budget", "host"};
  const int index = index_of(value, kWords);
  if (index < 0) return false;
  out->view = static_cast<View>(index);
  return true;
}

bool parse_exit_code(const char* value, Values* out) {
  if (equals(value, "137")) return out->refusal_exit_code = 137, true;
  if (equals(value, "keep")) return out->refusal_exit_code = 0, true;
  return false;
}

bool parse_spill_limit(const char* value, Values* out) {
  int64_t bytes = -1;
  if (!equals(value, "auto") && !parse_bytes(value, &bytes)) return false;
  out->spill_limit_bytes = bytes;
  return true;
}

bool parse_flight_size(const char* value, Values* out) {
  int64_t bytes = 0;
  if (!parse_bytes(value, &bytes) || bytes < kLeastFlight || bytes > kMostFlight) return false;
  out->flight_bytes = bytes;
  return true;
}

bool parse_sample(const char* value, Values* out) {
  constexpr int64_t kLeast = 4096;
  constexpr int64_t kMost = int64_t{1} << 30;
  int64_t bytes = 0;
  if (!parse_bytes(value, &bytes) || (bytes != 0 && bytes < kLeast) || bytes > kMost) return false;
  out->sample_mean_bytes = bytes;
  return true;
}

bool parse_directory(const char* value, char (&out)[256]) {
  const size_t length = strlen(value);
  if (value[0] != '/' || length > kMaxDirectory) return false;
  memcpy(out, value, length + 1);
  return true;
}

}  // namespace

const char* find_variable(const char* const* block, const char* name) {
  const size_t length = strlen(name);
  for (; block != nullptr && *block != nullptr; ++block) {
    const char* entry = *block;
    if (strncmp(entry, name, length) == 0 && entry[length] == '=') {
      return entry[length + 1] == '\0' ? nullptr : entry + length + 1;
    }
  }
  return nullptr;
}

const GpuBudget* gpu_budget_of(const Values& values, int gpu) {
  const GpuBudget* every = nullptr;
  for (int32_t i = 0; i < values.gpu_budget_count; ++i) {
    const GpuBudget& budget = values.gpu_budgets[i];
    const bool set = budget.bytes >= 0 || budget.share_permille != 0;
    if (budget.gpu == gpu) return set ? &budget : nullptr;
    if (budget.gpu == kEveryGpu) every = set ? &budget : nullptr;
  }
  return every;
}

bool is_switch(const Option& option) { return equals(option.forms, OOMGUARD_SWITCH_FORMS); }

bool parse(Id id, const char* value, Values* out) {
  if (value == nullptr) return false;
  switch (id) {
    case Id::kEnabled:
      return parse_switch(value, &out->enabled);
    case Id::kBudget:
      return parse_budget(value, out);
    case Id::kGpuBudget:
      return parse_gpu_budgets(value, out);
    case Id::kGpuAudit:
      return parse_switch(value, &out->gpu_audit);
    case Id::kReserve:
      return parse_reserve(value, out);
    case Id::kOvercommit:
      return parse_overcommit(value, out);
    case Id::kSwapShare:
      return parse_swap_share(value, out);
    case Id::kChildren:
      return parse_children(value, out);
    case Id::kOnLimit:
      return parse_on_limit(value, out);
    case Id::kAllocator:
      return parse_allocator(value, out);
    case Id::kSample:
      return parse_sample(value, out);
    case Id::kView:
      return parse_view(value, out);
    case Id::kExitCode:
      return parse_exit_code(value, out);
    case Id::kKeepFrames:
      return parse_switch(value, &out->keep_frames);
    case Id::kDirectory:
      return parse_directory(value, out->directory);
    case Id::kFlightSize:
      return parse_flight_size(value, out);
    case Id::kSpillDirectory:
      return parse_directory(value, out->spill_directory);
    case Id::kSpillLimit:
      return parse_spill_limit(value, out);
    case Id::kCount:
      break;
  }
  return false;
}

size_t default_directory(const char* const* environ_block, unsigned uid, char* out,
                         size_t capacity) {
  const char* parent = find_variable(environ_block, "TMPDIR");
  if (parent == nullptr || parent[0] != '/' || strlen(parent) > kMaxDirectory - 24) parent = "/tmp";
  char digits[12];
  size_t count = 0;
  do {
    digits[count++] = static_cast<char>('0' + uid % 10);
    uid /= 10;
  } while (uid != 0);
  size_t parent_length = strlen(parent);
  while (parent_length > 1 && parent[parent_length - 1] == '/') --parent_length;
  static constexpr char kStem[] = "/oomguard-";
  const size_t stem_length = sizeof(kStem) - 1;
  const size_t length = parent_length + stem_length + count;
  if (length >= capacity) return 0;
  memcpy(out, parent, parent_length);
  memcpy(out + parent_length, kStem, stem_length);
  for (size_t i = 0; i < count; ++i) out[parent_length + stem_length + i] = digits[count - 1 - i];
  out[length] = '\0';
  return length;
}

}  // namespace oomguard::options
