#include "collector/record/reader_sections.h"

#include <algorithm>
#include <cstring>

#include "collector/record/read_at.h"

namespace oomguard::record {
namespace {

constexpr int64_t kMost = int64_t{1} << 60;  // bytes, ns: differences of two fit

int64_t within(int64_t value) {
  return value == INT64_MAX ? value : std::clamp(value, -kMost, kMost);
}

Sample safe(const Sample& from) {
  Sample sample = from;
  for (int64_t* field :
       {&sample.at_monotonic_ns, &sample.needed_bytes, &sample.reclaimable_bytes,
        &sample.headroom_bytes, &sample.own_anonymous_bytes, &sample.pending_bytes,
        &sample.in_flight_bytes, &sample.spill_bytes, &sample.live_sampled_bytes,
        &sample.limit_bytes}) {
    *field = within(*field);
  }
  return sample;
}

// The samples of a ring that are in place, oldest first.
std::vector<Sample> samples_of(const std::vector<SampleRecord>& records, const Ring& ring) {
  std::vector<const SampleRecord*> whole;
  for (uint32_t i = 0; i < ring.count; ++i) {
    const SampleRecord& record = records[ring.first + i];
    const uint64_t number = record.sequence.load(std::memory_order_relaxed);
    if (number != 0 && (number - 1) % ring.count == i) whole.push_back(&record);
  }
  std::sort(whole.begin(), whole.end(), [](const SampleRecord* a, const SampleRecord* b) {
    return a->sequence.load(std::memory_order_relaxed) <
           b->sequence.load(std::memory_order_relaxed);
  });
  std::vector<Sample> samples;
  for (const SampleRecord* record : whole) {
    const Sample sample = safe(record->sample);
    // A damaged file may go back in time; a reader may not.
    if (samples.empty() || sample.at_monotonic_ns > samples.back().at_monotonic_ns) {
      samples.push_back(sample);
    }
  }
  return samples;
}

// Takes from `left` what keeps a sum of such values within int64.
int64_t share(int64_t value, int64_t* left) {
  const int64_t taken = std::clamp<int64_t>(value, 0, *left);
  *left -= taken;
  return taken;
}

std::string hexadecimal(const uint8_t* bytes, size_t count) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

}  // namespace

template <typename Record>
std::vector<Record> SectionReader::records(Section section) const {
  const Layout::Place& place = layout_[section];
  uint32_t used = 0;
  const size_t where = offsetof(FlightHeader, sections) +
                       static_cast<size_t>(section) * sizeof(SectionRecord) +
                       offsetof(SectionRecord, used);
  if (!read_at(fd_, &used, sizeof used, static_cast<off_t>(where))) return {};
  std::vector<Record> records(std::min(used, place.capacity));
  if (!read_at(fd_, static_cast<void*>(records.data()), records.size() * sizeof(Record),
               static_cast<off_t>(place.offset_bytes))) {
    return {};
  }
  return records;
}

void SectionReader::read() {
  read_samples();
  read_sites();
  flight_->nodes_ = records<NodeRecord>(Section::kNodes);
  flight_->frames_ = records<FrameRecord>(Section::kFrames);
  const auto modules = records<ModuleRecord>(Section::kModules);
  const auto model_files = records<ModelFileRecord>(Section::kModelFiles);
  const std::vector<char> strings = records<char>(Section::kStrings);
  flight_->strings_.assign(strings.begin(), strings.end());
  for (const ModuleRecord& record : modules) {
    Module module;
    if (record.state.load() == 1) {
      module.path = flight_->text(record.path);
      module.start = record.start;
      module.end = record.end;
      module.bias = record.bias;
      module.build_id = hexadecimal(
          record.build_id, std::min<size_t>(record.build_id_bytes, sizeof record.build_id));
    }
    flight_->modules_.push_back(std::move(module));
  }
  for (const ModelFileRecord& record : model_files) {
    if (record.state.load() != 1) continue;
    flight_->model_files_.push_back({flight_->text(record.path), within(record.size_bytes),
                                     within(record.mapped_bytes), within(record.seen_ns)});
  }
}

void SectionReader::read_samples() {
  const auto before = records<SampleRecord>(Section::kTimeline);
  auto records_now = records<SampleRecord>(Section::kTimeline);
  if (before.size() != kTimelineSamples || records_now.size() != kTimelineSamples) return;
  for (uint32_t i = 0; i < kTimelineSamples; ++i) {
    // One that was written meanwhile is taken where both readings show it whole.
    if (before[i].sequence.load() != records_now[i].sequence.load()) records_now[i].sequence = 0;
  }
  std::vector<Sample>& all = flight_->samples_;
  for (const Ring& ring : kRings) {
    const int64_t covered_ns = all.empty() ? INT64_MAX : all.front().at_monotonic_ns;
    std::vector<Sample> coarse = samples_of(records_now, ring);
    while (!coarse.empty() && coarse.back().at_monotonic_ns >= covered_ns) coarse.pop_back();
    all.insert(all.begin(), coarse.begin(), coarse.end());
  }
}

void SectionReader::read_sites() {
  const auto records_now = records<SiteRecord>(Section::kSites);
  int64_t left[6];
  std::fill(std::begin(left), std::end(left), kMost);
  for (uint32_t i = 0; i < records_now.size(); ++i) {
    const SiteRecord& record = records_now[i];
    if (record.state.load() != 1) continue;
    Site site;
    site.index = i;
    site.python_node = record.python_node;
    site.native_node = record.native_node;
    site.live_blocks = share(record.live_blocks.load(), &left[1]);
    site.allocated_bytes = share(record.allocated_bytes.load(), &left[2]);
    site.allocated_blocks = share(record.allocated_blocks.load(), &left[3]);
    const int64_t live_bytes = share(record.live_bytes.load(), &left[0]);
    site.untouched_bytes = std::min(share(record.untouched_bytes.load(), &left[4]), live_bytes);
    site.live_bytes = live_bytes - site.untouched_bytes;
    site.refused_bytes = share(record.refused_bytes.load(), &left[5]);
    if (live_bytes != 0 || site.allocated_bytes != 0) flight_->sites_.push_back(site);
  }
}

template <typename Visit>
void Flight::walk(uint32_t node, Visit visit) const {
  for (size_t depth = 0; depth < kDeepestStack && node != 0 && node < nodes_.size(); ++depth) {
    const uint32_t frame = nodes_[node].frame.load(std::memory_order_relaxed);
    const uint32_t index = frame & ~kEntry;
    if (index != 0 && index <= frames_.size()) visit(frames_[index - 1], (frame & kEntry) != 0);
    if (nodes_[node].parent >= node) return;  // no writer makes such a node
    node = nodes_[node].parent;
  }
}

std::string Flight::text(uint32_t id) const {
  if (id >= strings_.size()) return "";
  const char* start = strings_.data() + id;
  return std::string(start, strnlen(start, std::min<size_t>(strings_.size() - id, kLongestString)));
}

std::vector<PythonFrame> Flight::python_stack(const Site& site) const {
  std::vector<PythonFrame> stack;
  walk(site.python_node, [&](const FrameRecord& frame, bool entry) {
    if (frame.kind.load() != static_cast<uint32_t>(FrameKind::kPython)) return;
    stack.push_back({text(frame.file), text(frame.function), frame.line, frame.first_line, entry,
                     frame.own_code != 0});
  });
  std::reverse(stack.begin(), stack.end());
  return stack;
}

std::vector<NativeFrame> Flight::native_stack(const Site& site) const {
  std::vector<NativeFrame> stack;
  walk(site.native_node, [&](const FrameRecord& frame, bool) {
    if (frame.kind.load() != static_cast<uint32_t>(FrameKind::kNative)) return;
    const bool known = frame.file != 0 && frame.file <= modules_.size();
    stack.push_back({known ? static_cast<int32_t>(frame.file - 1) : -1, frame.offset});
  });
  std::reverse(stack.begin(), stack.end());
  return stack;
}

}  // namespace oomguard::record
