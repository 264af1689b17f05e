#include "shim/budget/thrashing.h"

#include "collector/probe/kernel_text.h"
#include "collector/record/text_reread.h"
#include "shim/core/copy_text.h"
#include "shim/core/session.h"

namespace oomguard::budget {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kEveryNs = kSecond / 10;
constexpr int64_t kFindAgainNs = 10 * kSecond;
constexpr int64_t kQuietNs = 10 * kSecond;  // no watched page moved: nothing to watch
constexpr int64_t kOverNs = 60 * kSecond;   // the same after it was said: what follows is new
constexpr Bytes kFull = 16 * kMiB;
constexpr Bytes kLeastFile = 16 * kMiB;
// In one second. With a limit that is full little is enough to look more closely.
constexpr uint64_t kSomeFaults = 4;
constexpr uint64_t kManyFaults = 100;
constexpr Bytes kSomeRefaults = 4 * kMiB;

// A group that is filled to its limit, be it with file pages that can be given back.
const probe::Level* full_level(const probe::Reading& reading) noexcept {
  for (uint32_t i = 0; i < reading.level_count; ++i) {
    const probe::Level& level = reading.levels[i];
    const bool is_group =
        level.kind == probe::LimitKind::kCgroupV1 || level.kind == probe::LimitKind::kCgroupV2;
    if (is_group && level.usage >= level.limit - std::min(kFull, level.limit / 8)) return &level;
  }
  return nullptr;
}

// Pages that were read again after they had been evicted, by everybody in the group or on the
// machine. v1 counts what is below a group under a name of its own; before Linux 5.9 anonymous and
// file pages were one number.
Bytes read_refaults(uint16_t group) noexcept {
  probe::KeyedValue names[] = {
      {"total_workingset_refault_file"}, {"workingset_refault_file"}, {"workingset_refault"}};
  const probe::PathRef path = group != probe::kNoPath
                                  ? probe::PathRef{look::eyes().level_path(group), "memory.stat"}
                                  : probe::PathRef{"/proc", "vmstat"};
  if (probe::read_keyed_once(path, names, std::size(names)) != 0) return -1;
  for (const probe::KeyedValue& name : names) {
    if (name.found) return probe::pages_to_bytes(name.value);
  }
  return -1;
}

uint64_t major_faults() noexcept {
  rusage usage{};
  sys::call(SYS_getrusage, RUSAGE_SELF, sys::as_arg(&usage));
  return static_cast<uint64_t>(usage.ru_majflt);
}

bool is_same(const probe::MappedFile& a, const probe::MappedFile& b) noexcept {
  return a.inode == b.inode && a.major == b.major && a.minor == b.minor && a.start == b.start &&
         a.size == b.size;
}

}  // namespace

void Thrashing::look(const Look& look) noexcept {
  if (look.now_ns - looked_ns_ < kEveryNs) return;
  looked_ns_ = look.now_ns;
  const probe::Level* full = full_level(look.judgement.reading);
  if (begun_ns_ != 0) {
    watch(look, full);
    return;
  }
  if (look.now_ns - asked_ns_ < kSecond) return;
  const bool first = asked_ns_ == 0;
  asked_ns_ = look.now_ns;
  const Counters now = read_counters(look, full);
  const Counters before = asked_;
  asked_ = now;
  if (first || !is_suspicious(before, now, full != nullptr)) return;
  if (found_ns_ != 0 && look.now_ns - found_ns_ < kFindAgainNs) return;
  begun_ = now;
  find_files(look.now_ns);
  if (count_ > 0) begun_ns_ = changed_ns_ = look.now_ns;
}

Thrashing::Counters Thrashing::read_counters(const Look& look,
                                             const probe::Level* full) const noexcept {
  const probe::Level* level =
      full != nullptr ? full : probe::binding(look.judgement.reading, look.judgement.headroom);
  Counters now;
  now.major_faults = major_faults();
  now.group = level != nullptr ? level->path_index : probe::kNoPath;
  // Not where nothing else points to it: the machine's text is long.
  const bool waits = now.major_faults - asked_.major_faults >= kManyFaults;
  if (full != nullptr || waits || begun_ns_ != 0) now.refaults = read_refaults(now.group);
  return now;
}

Bytes Thrashing::read_again(const Counters& before, const Counters& now) noexcept {
  const bool known = before.refaults >= 0 && now.refaults >= 0 && before.group == now.group;
  return known ? now.refaults - before.refaults : -1;
}

bool Thrashing::is_suspicious(const Counters& before, const Counters& now, bool is_full) noexcept {
  const uint64_t faults = now.major_faults - before.major_faults;
  return faults >= (is_full ? kSomeFaults : kManyFaults) ||
         (is_full && read_again(before, now) >= kSomeRefaults);
}

// What was seen of a file that is still where it was stays.
void Thrashing::find_files(int64_t now_ns) noexcept {
  probe::MappedFile found[kFiles];
  SampledPages pages[kFiles];
  found_ns_ = now_ns;
  const size_t count = probe::find_mapped_files(found, kFiles, kLeastFile);
  for (size_t i = 0; i < count; ++i) {
    for (size_t old = 0; old < count_; ++old) {
      if (is_same(found[i], files_[old])) pages[i] = pages_[old];
    }
  }
  count_ = count;
  for (size_t i = 0; i < count; ++i) {
    files_[i] = found[i];
    pages_[i] = pages[i];
  }
}

void Thrashing::watch(const Look& look, const probe::Level* full) noexcept {
  if (!told_ && look.now_ns - found_ns_ >= kFindAgainNs) find_files(look.now_ns);
  int most_back = 0;
  for (size_t i = 0; i < count_; ++i) {
    uint64_t present;
    if (!look::pages().file_pages_present(files_[i].start, files_[i].size, &present)) continue;
    if (pages_[i].look(present)) changed_ns_ = look.now_ns;
    most_back = std::max(most_back, pages_[i].back());
  }
  if (look.now_ns - changed_ns_ >= (told_ ? kOverNs : kQuietNs)) {
    begun_ns_ = 0;
    count_ = 0;
    told_ = false;
    return;
  }
  if (told_ || most_back < kEnoughBack) return;
  Rereading seen = since_begin(read_counters(look, full), look.now_ns);
  seen.most_back = most_back;
  if (!is_rereading(seen)) return;
  told_ = true;
  tell(seen, full != nullptr ? full->limit : kNoLimit);
}

Rereading Thrashing::since_begin(const Counters& now, int64_t now_ns) const noexcept {
  Rereading seen;
  seen.major_faults = now.major_faults - begun_.major_faults;
  seen.read_again_bytes = read_again(begun_, now);
  seen.ns = now_ns - begun_ns_;
  return seen;
}

void Thrashing::tell(const Rereading& seen, Bytes limit) noexcept {
  session::ensure_own_file();
  record::FlightHeader& header = session::file()->header;
  record::RereadRecord& out = header.reread;
  out.at_realtime_ns = sys::realtime_ns();
  out.read_again_bytes = seen.read_again_bytes;
  out.duration_ms = seen.ns / 1'000'000;
  out.major_faults = seen.major_faults;
  out.limit_bytes = limit;
  out.mapped_bytes = 0;
  out.files = 0;
  int most = -1;
  for (size_t i = 0; i < count_; ++i) {
    if (pages_[i].back() < kEnoughBack / 2) continue;
    ++out.files;
    out.mapped_bytes += files_[i].bytes;
    if (most < 0 || pages_[i].back() > pages_[static_cast<size_t>(most)].back()) {
      most = static_cast<int>(i);
    }
  }
  if (most >= 0) copy_text(out.file, sizeof out.file, files_[most].name.text);
  out.times.fetch_add(1, std::memory_order_release);
  char line[640];
  const size_t length = record::render_reread(header, line, sizeof line);
  session::say(line, length, true);
}

}  // namespace oomguard::budget
