#include "collector/symbolize/module_file.h"

#include <cxxabi.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <gelf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "collector/record/stacks.h"

namespace oomguard::symbolize {
namespace {

constexpr int kMaxFrames = 64;
constexpr size_t kMostKept = sizeof record::ModuleRecord::build_id;

struct Free {
  void operator()(void* memory) const { free(memory); }
};
using Scopes = std::unique_ptr<Dwarf_Die[], Free>;

// C++'s and Rust's older names; others stay as they are.
std::string demangled(const char* name) {
  int status = 0;
  const std::unique_ptr<char, Free> text(abi::__cxa_demangle(name, nullptr, nullptr, &status));
  return status == 0 && text != nullptr ? text.get() : name;
}

// -1: no ordinary file.
int open_file(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  struct stat status {};
  if (fd >= 0 && (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))) {
    close(fd);
    return -1;
  }
  return fd;
}

bool has_build_id(int fd, std::span<const uint8_t> wanted) {
  if (wanted.empty()) return false;
  Elf* elf = elf_begin(fd, ELF_C_READ_MMAP, nullptr);
  if (elf == nullptr) return false;
  const void* found = nullptr;
  const ssize_t size = elf_kind(elf) == ELF_K_ELF ? dwelf_elf_gnu_build_id(elf, &found) : -1;
  const auto* bytes = static_cast<const uint8_t*>(found);
  // A record keeps the first kMostKept bytes.
  const size_t kept = size > 0 ? std::min(static_cast<size_t>(size), kMostKept) : 0;
  const bool same = kept == wanted.size() && std::equal(wanted.begin(), wanted.end(), bytes);
  elf_end(elf);
  return same;
}

const Dwfl_Callbacks* callbacks() {
  static const Dwfl_Callbacks kCallbacks = [] {
    Dwfl_Callbacks made{};
    made.find_elf = dwfl_build_id_find_elf;
    made.find_debuginfo = dwfl_standard_find_debuginfo;
    made.section_address = dwfl_offline_section_address;
    return made;
  }();
  return &kCallbacks;
}

// What a copy of a function (inlined, or apart from its class) is a copy of.
bool go_to_original(Dwarf_Die* die) {
  Dwarf_Attribute memory;
  for (const unsigned name : {DW_AT_abstract_origin, DW_AT_specification}) {
    Dwarf_Attribute* attribute = dwarf_attr(die, name, &memory);
    if (attribute != nullptr && dwarf_formref_die(attribute, die) != nullptr) return true;
  }
  return false;
}

// "space::Class::": a function that only its own file knows has no linkage name that would say it.
std::string scope_of(Dwarf_Die* function) {
  Dwarf_Die original = *function;
  for (int step = 0; step < 4 && go_to_original(&original); ++step) {
  }
  Dwarf_Die* found = nullptr;
  const int count = dwarf_getscopes_die(&original, &found);
  const Scopes chain(count > 0 ? found : nullptr);
  std::string scope;
  for (int i = 1; i < count && i < kMaxFrames; ++i) {
    const int tag = dwarf_tag(&chain[i]);
    const bool is_namespace = tag == DW_TAG_namespace;
    if (!is_namespace && tag != DW_TAG_class_type && tag != DW_TAG_structure_type) continue;
    const char* name = dwarf_diename(&chain[i]);
    if (name == nullptr) name = is_namespace ? "(anonymous namespace)" : "(anonymous class)";
    scope.insert(0, std::string(name) + "::");
  }
  return scope;
}

std::string function_of(Dwarf_Die* die) {
  Dwarf_Attribute memory;
  for (const unsigned name : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name}) {
    Dwarf_Attribute* attribute = dwarf_attr_integrate(die, name, &memory);
    const char* text = attribute != nullptr ? dwarf_formstring(attribute) : nullptr;
    if (text != nullptr) return demangled(text);
  }
  const char* text = dwarf_diename(die);
  return text != nullptr ? scope_of(die) + text : "";
}

uint64_t number_of(Dwarf_Die* die, unsigned name) {
  Dwarf_Attribute memory;
  Dwarf_Word value = 0;
  Dwarf_Attribute* attribute = dwarf_attr(die, name, &memory);
  return attribute != nullptr && dwarf_formudata(attribute, &value) == 0 ? value : 0;
}

// Where an inlined function was called.
void set_call(Dwarf_Die* unit, Dwarf_Die* inlined, SourceFrame* frame) {
  frame->line = static_cast<int>(number_of(inlined, DW_AT_call_line));
  frame->file.clear();
  Dwarf_Files* files = nullptr;
  size_t count = 0;
  const uint64_t index = number_of(inlined, DW_AT_call_file);
  if (dwarf_getsrcfiles(unit, &files, &count) != 0 || index >= count) return;
  const char* text = dwarf_filesrc(files, index, nullptr, nullptr);
  if (text != nullptr) frame->file = text;
}

// The scopes around an address, innermost first, each within the next.
int scopes_at(Dwarf_Die* unit, Dwarf_Addr address, Scopes* out) {
  Dwarf_Die* found = nullptr;
  const int count = dwarf_getscopes(unit, address, &found);
  const Scopes nearest(count > 0 ? found : nullptr);
  if (count <= 0) return 0;
  Dwarf_Die* chain = nullptr;
  const int length = dwarf_getscopes_die(&nearest[0], &chain);
  if (length <= 0) return 0;
  out->reset(chain);
  return length;
}

}  // namespace

ModuleFile::ModuleFile(const std::string& path, std::span<const uint8_t> build_id) {
  elf_version(EV_CURRENT);
  const int fd = open_file(path);
  if (fd < 0) return;
  if (has_build_id(fd, build_id)) session_.reset(dwfl_begin(callbacks()));
  if (session_ != nullptr) {
    dwfl_report_begin(session_.get());
    module_ = dwfl_report_offline(session_.get(), path.c_str(), path.c_str(), fd);
    dwfl_report_end(session_.get(), nullptr, nullptr);
  }
  if (module_ == nullptr) {
    close(fd);  // else it is libdwfl's
  } else if (dwfl_module_getelf(module_, &bias_) == nullptr) {
    module_ = nullptr;
  }
}

std::vector<SourceFrame> ModuleFile::at(uint64_t address) const {
  if (module_ == nullptr) return {};
  std::vector<SourceFrame> frames = from_debug_information(address + bias_);
  if (!frames.empty()) return frames;
  SourceFrame frame;
  frame.function = symbol_at(address + bias_);
  if (frame.function.empty()) return {};
  set_line(address + bias_, &frame);
  return {frame};
}

std::vector<SourceFrame> ModuleFile::from_debug_information(Dwarf_Addr address) const {
  Dwarf_Addr bias = 0;
  Dwarf_Die* unit = dwfl_module_addrdie(module_, address, &bias);
  Scopes scopes;
  const int count = unit != nullptr ? scopes_at(unit, address - bias, &scopes) : 0;
  std::vector<SourceFrame> frames;
  SourceFrame frame;
  set_line(address, &frame);
  for (int i = 0; i < count && i < kMaxFrames; ++i) {
    const int tag = dwarf_tag(&scopes[i]);
    if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_subprogram) continue;
    frame.function = function_of(&scopes[i]);
    frame.inlined = tag == DW_TAG_inlined_subroutine;
    frames.push_back(frame);
    if (!frame.inlined) return frames;
    set_call(unit, &scopes[i], &frame);
  }
  return {};  // no function is around it
}

std::string ModuleFile::symbol_at(Dwarf_Addr address) const {
  GElf_Off offset = 0;
  GElf_Sym symbol{};
  const char* name =
      dwfl_module_addrinfo(module_, address, &offset, &symbol, nullptr, nullptr, nullptr);
  // The nearest symbol before it is not what it lies in, in files whose own symbols were removed.
  if (name == nullptr || offset >= symbol.st_size) return "";
  return demangled(name);
}

void ModuleFile::set_line(Dwarf_Addr address, SourceFrame* frame) const {
  Dwfl_Line* line = dwfl_module_getsrc(module_, address);
  int number = 0;
  const char* file = line != nullptr
                         ? dwfl_lineinfo(line, nullptr, &number, nullptr, nullptr, nullptr)
                         : nullptr;
  if (file == nullptr) return;
  frame->file = file;
  frame->line = number;
}

}  // namespace oomguard::symbolize
