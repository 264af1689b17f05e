// Writes a flight file as a long session of a notebook would leave it: call stacks, a timeline,
// refusals, checkpoint files, and names that try to be more than text.
//
//   write_flight FILE STACKS SAMPLES [SOURCE [died | crashed | hub]]
//
// SOURCE is the path of the person's own code, /home/ada/model/train.py otherwise; the checkpoint that
// is open is in the folder llama-19b beside it. With `died` the
// kernel ended by no refusal: it was killed in its second cell while it loaded a checkpoint. With `hub`
// that one is in the cache of the hub's client, models--a--b, where files have hashes for names.
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "collector/probe/probe.h"
#include "collector/record/layout.h"
#include "collector/record/own_code.h"

namespace {

using namespace oomguard::record;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kStepNs = kSecondNs / 4;

class Chance {
 public:
  uint32_t next(uint32_t below) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 33) % below;
  }

 private:
  uint64_t state_ = 7;
};

struct PythonCall {
  const char* file;
  const char* function;
  uint32_t line;
};

class Builder {
 public:
  explicit Builder(uint64_t bytes) : words_(bytes / sizeof(uint64_t)) {
    write_layout(&file()->header, bytes);
    view_ = view_of(file());
  }
  FlightFile* file() { return reinterpret_cast<FlightFile*>(words_.data()); }
  View& view() { return view_; }

  uint32_t string(const std::string& text) {
    const auto [at, is_new] = strings_.try_emplace(text, 0);
    if (is_new && !text.empty()) {
      at->second = take(Section::kStrings, static_cast<uint32_t>(text.size()) + 1);
      memcpy(view_.strings + at->second, text.c_str(), text.size() + 1);
    }
    return at->second;
  }
  uint32_t python(const std::string& file, const std::string& function, uint32_t line) {
    const auto [at, is_new] =
        frames_.try_emplace(file + "\n" + function + "\n" + std::to_string(line), 0);
    if (!is_new) return at->second;
    at->second = take(Section::kFrames, 1);
    FrameRecord& frame = view_.frames[at->second];
    frame.file = string(file);
    frame.function = string(function);
    frame.line = line;
    frame.first_line = line > 4 ? line - 4 : 1;
    frame.own_code = is_own_code(file) ? 1 : 0;
    frame.kind = static_cast<uint32_t>(FrameKind::kPython);
    return at->second;
  }
  uint32_t native(uint32_t module, uint64_t offset) {
    const auto [at, is_new] =
        frames_.try_emplace(std::to_string(module) + "+" + std::to_string(offset), 0);
    if (!is_new) return at->second;
    at->second = take(Section::kFrames, 1);
    FrameRecord& frame = view_.frames[at->second];
    frame.file = module + 1;
    frame.offset = offset;
    frame.kind = static_cast<uint32_t>(FrameKind::kNative);
    return at->second;
  }
  uint32_t node(uint32_t parent, uint32_t frame, bool entry) {
    const auto [at, is_new] = nodes_.try_emplace({parent, frame | (entry ? kEntry : 0)}, 0);
    if (!is_new) return at->second;
    at->second = take(Section::kNodes, 1);
    view_.nodes[at->second].parent = parent;
    view_.nodes[at->second].frame = (frame + 1) | (entry ? kEntry : 0);
    return at->second;
  }
  SiteRecord& site() { return view_.sites[take(Section::kSites, 1)]; }
  void module(const char* path) {
    const uint32_t index = take(Section::kModules, 1);
    ModuleRecord& module = view_.modules[index];
    module.start = 0x7f0000000000 + (uint64_t{index} << 28);
    module.end = module.start + (1 << 27);
    module.bias = module.start;
    module.build_id_bytes = 20;
    for (uint8_t i = 0; i < 20; ++i) module.build_id[i] = static_cast<uint8_t>(i * 7 + index);
    module.path = string(path);
    module.state = 1;
  }
  void model_file(const std::string& path, int64_t size, int64_t mapped, int64_t since_start_ns) {
    ModelFileRecord& record = view_.model_files[take(Section::kModelFiles, 1)];
    record.path = string(path);
    record.size_bytes = size;
    record.mapped_bytes = mapped;
    record.seen_ns = file()->header.start_monotonic_ns + since_start_ns;
    record.state = 1;
  }
  bool write(const char* path) {
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(words_.data()),
              static_cast<std::streamsize>(words_.size() * sizeof(uint64_t)));
    return static_cast<bool>(out.flush());
  }

 private:
  uint32_t take(Section section, uint32_t count) {
    const uint32_t at = view_.section(section).used.fetch_add(count);
    if (at + count > view_.capacity(section)) {
      fprintf(stderr, "write_flight: section %u is full\n", static_cast<unsigned>(section));
      exit(1);
    }
    return at;
  }

  std::vector<uint64_t> words_;
  View view_;
  std::map<std::string, uint32_t> strings_;
  std::map<std::string, uint32_t> frames_;
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> nodes_;
};

constexpr const char* kCell = "/tmp/ipykernel_4711/2718281828.py";
constexpr const char* kOldCell = "<ipython-input-3-5772156649>";
constexpr const char* kHostile = "/home/ada/<img src=x onerror=\"document.title='hacked'\">.py";

#define SITE_PACKAGES "/home/ada/venv/lib/python3.11/site-packages/"
constexpr PythonCall kOuter[] = {
    {"<frozen runpy>", "_run_module_as_main", 198},
    {"<frozen runpy>", "_run_code", 88},
    {SITE_PACKAGES "ipykernel_launcher.py", "<module>", 18},
    {SITE_PACKAGES "traitlets/config/application.py", "Application.launch_instance", 1075},
    {SITE_PACKAGES "ipykernel/kernelapp.py", "IPKernelApp.start", 739},
    {"/usr/lib/python3.11/asyncio/base_events.py", "BaseEventLoop.run_forever", 607},
    {"/usr/lib/python3.11/asyncio/events.py", "Handle._run", 80},
    {SITE_PACKAGES "ipykernel/kernelbase.py", "Kernel.execute_request", 778},
    {SITE_PACKAGES "IPython/core/interactiveshell.py", "InteractiveShell.run_cell", 3077},
    {SITE_PACKAGES "IPython/core/interactiveshell.py", "InteractiveShell.run_code", 3577}};
constexpr PythonCall kLibraries[] = {
    {SITE_PACKAGES "transformers/modeling_utils.py", "PreTrainedModel.from_pretrained", 4120},
    {SITE_PACKAGES "transformers/core_model_loading.py", "_materialize_copy", 1323},
    {SITE_PACKAGES "pandas/core/frame.py", "DataFrame.merge", 10832},
    {SITE_PACKAGES "pandas/core/internals/managers.py", "BlockManager._consolidate", 1780},
    {SITE_PACKAGES "numpy/_core/numeric.py", "full", 353},
    {SITE_PACKAGES "torch/nn/modules/linear.py", "Linear.forward", 125},
    {SITE_PACKAGES "torch/functional.py", "einsum", 402},
    {"/usr/lib/python3.11/json/decoder.py", "JSONDecoder.raw_decode", 353}};
#undef SITE_PACKAGES
constexpr const char* kOwn[] = {"load",     "Dataset.__getitem__", "augment", "fit",
                                "features", "<listcomp>"};

struct Made {
  std::string source;
  Chance chance;
};

uint32_t python_stack(Builder* out, Made* made, int family, int variant) {
  uint32_t node = 0;
  for (size_t i = 0; i < std::size(kOuter); ++i) {
    node = out->node(node, out->python(kOuter[i].file, kOuter[i].function, kOuter[i].line), i == 0);
  }
  const char* cell = family % 5 == 4 ? kOldCell : kCell;
  node =
      out->node(node, out->python(cell, "<module>", static_cast<uint32_t>(1 + family % 7)), true);
  const int own = 1 + family % 3;
  for (int i = 0; i < own; ++i) {
    const std::string file = family % 11 == 10 ? kHostile : made->source;
    const char* function = kOwn[(family + i) % static_cast<int>(std::size(kOwn))];
    const auto line =
        static_cast<uint32_t>(1 + (family * 7 + i * 13 + (i == own - 1 ? variant % 3 : 0)) % 40);
    node = out->node(node, out->python(file, function, line), false);
  }
  const int libraries = variant % 4;
  for (int i = 0; i < libraries; ++i) {
    const PythonCall& call =
        kLibraries[(family * 2 + i + variant / 4) % static_cast<int>(std::size(kLibraries))];
    node = out->node(
        node,
        out->python(call.file, call.function, call.line + static_cast<uint32_t>(variant / 40)),
        i == 1);
  }
  return node;
}

uint32_t native_stack(Builder* out, Made* made, int family, int variant) {
  uint32_t node = 0;
  for (const uint64_t offset : {0x1040, 0x5a310, 0x5b210, 0x77120}) {
    node = out->node(node, out->native(0, offset), false);
  }
  const uint32_t module = family % 3 == 0 ? 1 : 2;
  const int depth = 2 + variant % 5;
  for (int i = 0; i < depth; ++i) {
    const auto offset =
        static_cast<uint64_t>(0x100000 + family % 9 * 0x4000 + i * 0x310 + variant / 5 % 50 * 0x10);
    node = out->node(node, out->native(module, offset), false);
  }
  (void)made;
  return node;
}

void put_sites(Builder* out, Made* made, int count) {
  double total = 0;
  std::vector<double> shares;
  for (int i = 0; i < count; ++i) {
    const double heavy = i < 40 ? 400.0 / (i + 1) : 1.0;
    shares.push_back(made->chance.next(10) < 3 ? 0 : heavy * (1 + made->chance.next(100)) / 50);
    total += shares.back();
  }
  for (int i = 0; i < count; ++i) {
    const int family = i % 40;
    const int variant = i / 40;
    SiteRecord& site = out->site();
    site.python_node = python_stack(out, made, family, variant);
    site.native_node = native_stack(out, made, family, variant);
    const auto live =
        static_cast<int64_t>(shares[static_cast<size_t>(i)] / std::max(total, 1.0) * 5.2 * kGiB);
    site.live_bytes = live;
    site.live_blocks = live / 100'000;
    site.allocated_bytes = live * (1 + made->chance.next(6)) + kMiB / 4;
    site.allocated_blocks = site.allocated_bytes.load() / 90'000;
    if (made->chance.next(20) == 0) site.untouched_bytes = live / 3;
    site.refused_bytes = live - site.untouched_bytes;
    site.state = 1;
  }
}

// Rises in steps, and at its end to the limit.
Sample sample_at(int64_t start_ns, int i, int count) {
  const double done = static_cast<double>(i) / std::max(count - 1, 1);
  double own = 0.3;
  for (const double step : {0.08, 0.2, 0.22, 0.5}) {
    if (done > step) own += 0.35;
  }
  if (done > 0.78) own += (done - 0.78) / 0.22 * (done - 0.78) / 0.22 * 3.5;
  Sample sample{};
  sample.at_monotonic_ns = start_ns + i * kStepNs;
  sample.own_anonymous_bytes = static_cast<int64_t>(own * kGiB) + (i % 9) * 2 * kMiB;
  sample.needed_bytes = sample.own_anonymous_bytes + kGiB / 4;
  sample.limit_bytes = 6 * kGiB;
  sample.headroom_bytes = sample.limit_bytes - sample.needed_bytes;
  sample.reclaimable_bytes = std::clamp<int64_t>(sample.headroom_bytes - 20 * kMiB, 0, kGiB);
  sample.live_sampled_bytes = sample.own_anonymous_bytes / 10 * 9;
  return sample;
}

void put_refusal(RefusalRecord* refusal, uint64_t number, int64_t at_ns) {
  refusal->incident = number;
  refusal->at_realtime_ns = at_ns;
  refusal->pid = refusal->thread_id = 4711;
  refusal->kind = static_cast<uint32_t>(RequestKind::kMalloc);
  refusal->outcome = static_cast<uint32_t>(Outcome::kRefused);
  refusal->request_bytes = 100 * kMiB * static_cast<int64_t>(number);
  refusal->headroom_bytes = 80 * kMiB;
  refusal->line_bytes = refusal->reserve_bytes = 96 * kMiB;
  refusal->resident_bytes = kGiB * 56 / 10;
  refusal->anonymous_bytes = kGiB * 545 / 100;
  refusal->surfaced = number == 3;
  strcpy(refusal->module, "libc10.so");
  strcpy(refusal->thread_name, "python");
  if (refusal->surfaced != 0) {
    strcpy(
        refusal->where,
        "cell [2] line 5: model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)\n"
        "core_model_loading.py:1323: tensor = tensor.to(device=device, dtype=dtype)");
  }
  refusal->level_count = 2;
  LevelRecord& machine = refusal->levels[0];
  machine.kind = static_cast<uint32_t>(oomguard::probe::LimitKind::kMachine);
  machine.limit_bytes = 64 * kGiB;
  machine.usage_bytes = 20 * kGiB;
  machine.swap_room_bytes = 2 * kGiB;
  LevelRecord& group = refusal->levels[1];
  group.kind = static_cast<uint32_t>(oomguard::probe::LimitKind::kCgroupV2);
  group.binds = 1;
  group.limit_bytes = 6 * kGiB;
  group.usage_bytes = kGiB * 598 / 100;
  group.reclaimable_bytes = kGiB * 7 / 100;
  strcpy(group.path, "/user.slice/user-1000.slice/jupyter.scope");
  refusal->neighbour_count = 2;
  refusal->neighbours[0] = {12153, 1, kGiB * 31 / 100, "python"};
  refusal->neighbours[1] = {900, 0, kGiB * 8 / 100, "</script><b>node"};
  if (number == 3) {
    refusal->holder_count = 2;
    refusal->holders[0] = {3 * kGiB, 5, 1, 0, "cell [2]", "<module>"};
    refusal->holders[1] = {kGiB, 0, 0, 0, "/home/ada/torch/lib/libtorch_cpu.so", ""};
    refusal->attributed_bytes = kGiB * 52 / 10;
  }
  refusal->sequence = number;
}

void put_header(FlightHeader* header, int samples) {
  memcpy(header->magic, kMagic, sizeof(kMagic));
  header->version = kVersion;
  header->header_bytes = sizeof(FlightHeader);
  header->refusal_bytes = sizeof(RefusalRecord);
  header->refusal_slots = kRefusalSlots;
  header->pid = 4711;
  header->parent_pid = 4000;
  header->end_state = static_cast<uint32_t>(EndState::kEndedByRefusal);
  header->start_realtime_ns = time(nullptr) * kSecondNs - samples * kStepNs - 3600 * kSecondNs;
  header->start_monotonic_ns = 5'000 * kSecondNs;
  header->limit_bytes = 6 * kGiB;
  header->reserve_bytes = 96 * kMiB;
  header->python_version = 3 << 16 | 11;
  header->is_kernel = 1;
  header->refusals = 3;
  header->incidents = 3;
  header->surfaced = 1;
  strcpy(header->program, "/usr/bin/python3.11");
  strcpy(header->command, "python -m ipykernel_launcher -f /home/ada/kernel-1.json");
  strcpy(header->connection_file, "/home/ada/kernel-1.json");
}

// Killed by the kernel at its group's limit, and seen so by nobody but the counters.
void put_death(FlightHeader* header, int64_t end_ns) {
  header->end_state = static_cast<uint32_t>(EndState::kRunning);
  header->boot_id[0] = header->end.boot_id[0] = 1;
  header->group_count = 1;
  GroupRecord& group = header->groups[0];
  group.kind = static_cast<uint32_t>(oomguard::probe::LimitKind::kCgroupV2);
  group.limit_bytes = 6 * kGiB;
  group.end = {1, 1, 0};
  strcpy(group.path, "/sys/fs/cgroup");
  header->end.at_realtime_ns = end_ns;
  header->end.at_monotonic_ns = header->start_monotonic_ns + (end_ns - header->start_realtime_ns);
  strcpy(header->notebook, "work/<b>train.ipynb");
  header->cell = 2;
  strcpy(header->cell_source,
         "from transformers import AutoModelForCausalLM\n\npath = '/data/llama-19b'\nif path:\n"
         "    model = AutoModelForCausalLM.from_pretrained(path)  # <i>\nrows = []");
  header->cells[2].number = 2;
  strcpy(header->cells[2].file, kCell);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const int stacks = atoi(argv[2]);
  const int samples = atoi(argv[3]);
  Builder out(kDefaultFlightBytes);
  Made made{argc > 4 ? argv[4] : "/home/ada/model/train.py", {}};
  FlightHeader& header = out.file()->header;
  put_header(&header, samples);
  out.module("/usr/bin/python3.11");
  out.module("/home/ada/venv/lib/python3.11/site-packages/torch/lib/libtorch_cpu.so");
  out.module("/home/ada/venv/lib/python3.11/site-packages/numpy/_core/_multiarray_umath.so");
  put_sites(&out, &made, stacks);
  Timeline timeline;
  const bool crashed = argc > 5 && strcmp(argv[5], "crashed") == 0;
  for (int i = 0; i < (crashed ? samples / 2 : samples); ++i) {
    timeline.add(out.view(), sample_at(header.start_monotonic_ns, i, samples),
                 [](const void*, size_t) { return true; });
  }
  const int64_t end_ns = header.start_realtime_ns + samples * kStepNs;
  const bool hub = argc > 5 && strcmp(argv[5], "hub") == 0;
  if (argc > 5 && !hub) {
    put_death(&header, end_ns);
    header.end.has_wait_status = crashed ? 1 : 0;
    header.end.wait_status = crashed ? SIGSEGV : 0;
    // Of family 11: the fifth line of the cell.
    header.newest[0] = uint64_t{1 + 11} << 32 | 2048;
    header.newest_count = 1;
  }
  for (uint64_t number = 1; number <= 3; ++number) {
    put_refusal(&out.file()->refusals[number - 1], number,
                end_ns - (number == 3 ? 0 : static_cast<int64_t>(3 - number) * 20 * kSecondNs));
  }
  for (int i = 1; i <= 4; ++i) {
    const std::string folder = made.source.substr(0, made.source.rfind('/'));
    const std::string name = "/llama-19b/model-0000" + std::to_string(i) + "-of-00004.safetensors";
    const std::string blob = "/models--a--b/blobs/" + std::string(64, static_cast<char>('0' + i));
    out.model_file(folder + (hub ? blob : name),
                   9 * kGiB, i == 1 ? 2 * kGiB : 0, (samples - 1) * kStepNs);
  }
  out.model_file("/data/<script>alert(1)</script>/tiny.gguf", 700 * kMiB, 0, kSecondNs);
  return out.write(argv[1]) ? 0 : 1;
}
