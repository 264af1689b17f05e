// A flight file that anybody may have written: the reader's guarantees, and every renderer on it.
// The input is a list of patches to a good file: two bytes where (from 0x8000 on a section and an offset in
// it, below in what every file begins with), one how many, then the bytes.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <string>

#include "collector/record/append.h"
#include "collector/record/mask.h"
#include "collector/record/reader.h"
#include "collector/record/text.h"
#include "collector/verdict/words.h"
#include "tests/collector/record/fixture.h"
#include "tests/fuzz/system_calls.h"

using namespace oomguard;

static void render_all(const record::Flight& flight) {
  char text[3000];
  for (const record::RefusalRecord* refusal : flight.refusals()) {
    for (const auto audience :
         {record::Audience::kCell, record::Audience::kScript, record::Audience::kFull}) {
      for (const size_t capacity : {sizeof text, size_t{100}, size_t{1}}) {
        if (record::render(flight.header(), *refusal, audience, text, capacity) > capacity) abort();
      }
    }
    if (record::render_note(flight.header(), *refusal, text, sizeof text) > sizeof text) abort();
  }
}

static void expect(bool holds) {
  if (!holds) abort();
}

// A stack of two frames of each kind, a module, a checkpoint and a sample.
static void fill(const record::View& view) {
  const uint32_t name = record::add_string(view, "train.py", 8);
  const uint32_t module = record::claim(view, record::Section::kModules);
  view.modules[module].path = name;
  view.modules[module].build_id_bytes = 20;
  view.modules[module].state = 1;
  const uint32_t checkpoint = record::claim(view, record::Section::kModelFiles);
  view.model_files[checkpoint].path = name;
  view.model_files[checkpoint].state = 1;
  uint32_t leaves[2] = {};
  for (const uint32_t kind : {1u, 2u}) {
    for (int depth = 0; depth < 2; ++depth) {
      const uint32_t frame = record::claim(view, record::Section::kFrames);
      view.frames[frame].file = kind == 1 ? name : module + 1;
      view.frames[frame].function = name;
      view.frames[frame].kind = kind;
      const uint32_t node = record::claim(view, record::Section::kNodes);
      view.nodes[node].parent = leaves[kind - 1];
      view.nodes[node].frame = (frame + 1) | record::kEntry;
      leaves[kind - 1] = node;
    }
  }
  for (int i = 0; i < 3; ++i) {
    record::SiteRecord& site = view.sites[record::claim(view, record::Section::kSites)];
    site.python_node = leaves[0];
    site.native_node = leaves[1];
    site.live_bytes = site.allocated_bytes = 1000;
    site.state = 1;
  }
  record::Timeline timeline;
  for (int64_t i = 1; i < 9; ++i) {
    record::Sample sample{};
    sample.at_monotonic_ns = i * record::kSecondNs;
    timeline.add(view, sample, [](const void*, size_t) { return true; });
  }
}

static void check_stacks(const record::Flight& flight) {
  int64_t sums[2] = {};
  for (const record::Site& site : flight.sites()) {
    expect(site.live_bytes >= 0 && site.allocated_bytes >= 0);
    expect(!__builtin_add_overflow(sums[0], site.live_bytes, &sums[0]));
    expect(!__builtin_add_overflow(sums[1], site.allocated_bytes, &sums[1]));
    const auto python = flight.python_stack(site);
    expect(python.size() <= record::Flight::kDeepestStack);
    for (const record::PythonFrame& frame : python) {
      expect(frame.file.size() <= record::kLongestString && frame.function.size() <= record::kLongestString);
    }
    for (const record::NativeFrame& frame : flight.native_stack(site)) {
      expect(frame.module >= -1 && frame.module < static_cast<int64_t>(flight.modules().size()));
    }
  }
}

static void check_sections(const record::Flight& flight) {
  check_stacks(flight);
  int64_t before_ns = INT64_MIN;
  for (const record::Sample& sample : flight.samples()) {
    expect(sample.at_monotonic_ns > before_ns);
    int64_t difference;
    expect(before_ns == INT64_MIN || sample.at_monotonic_ns == INT64_MAX ||
           !__builtin_sub_overflow(sample.at_monotonic_ns, before_ns, &difference));
    before_ns = sample.at_monotonic_ns;
  }
  for (const record::Module& module : flight.modules()) {
    expect(module.path.size() <= record::kLongestString && module.build_id.size() <= 64);
  }
  for (const record::ModelFile& file : flight.model_files()) {
    expect(file.path.size() <= record::kLongestString);
  }
}

// Why it is gone, whatever the file says.
static void judge(const record::Flight& flight) {
  const auto& refusals = flight.refusals();
  const verdict::Evidence evidence =
      verdict::gather(flight.header(), refusals.empty() ? nullptr : refusals.back(),
                      flight.samples(), verdict::Surroundings{});
  const verdict::Verdict verdict = verdict::judge(evidence);
  expect(verdict.level < static_cast<int>(evidence.levels.size()));
  std::string text = verdict::cause(evidence, verdict) + verdict::growth(evidence) +
                     verdict::why_not_prevented(evidence, verdict);
  for (const std::string& line : verdict::evidence_lines(evidence)) text += line;
  for (const char c : text) expect(static_cast<unsigned char>(c) >= ' ');
}

static void mask(const uint8_t* data, size_t size) {
  const auto* arguments = reinterpret_cast<const char*>(data);
  char masked[200];
  for (const size_t capacity : {sizeof masked, size_t{7}, size_t{1}}) {
    const size_t length = record::mask_command(arguments, size, masked, capacity);
    if (length >= capacity || masked[length] != '\0') abort();
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mask(data, size);
  record::FlightBytes file = record::make_flight();
  auto* bytes = reinterpret_cast<uint8_t*>(file.bytes());
  fill(record::view_of(file.get()));
  constexpr size_t kPatched = sizeof(record::FlightHeader) + 2 * sizeof(record::RefusalRecord);
  constexpr record::Layout kSections = record::layout_for(record::kSmallestFlightBytes);
  while (size > 3) {
    const size_t chosen = data[0] + size_t{256} * data[1];
    const size_t where =
        chosen < 0x8000 ? chosen % (kPatched - 256)
                        : kSections.sections[(chosen >> 12) & 7].offset_bytes + (chosen & 0xfff);
    const size_t count = std::min<size_t>(data[2], size - 3);
    memcpy(bytes + where, data + 3, count);
    data += 3 + count;
    size -= 3 + count;
  }
  const int fd = fuzz::make_file(bytes, file.size() - size % 2);  // now and then one byte short
  const auto flight = record::read_flight("/proc/self/fd/" + std::to_string(fd));
  if (flight) {
    render_all(*flight);
    check_sections(*flight);
    judge(*flight);
  }
  close(fd);
  return 0;
}
