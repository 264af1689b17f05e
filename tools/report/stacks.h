// Call stacks as the reports show them: one table of frames, and prefix trees of them.
//
// Thread-safety: none needed, the command has one thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace oomguard::tools {

struct Frame {
  bool python = false;
  bool own = false;      // of the person's own code, not of a library
  bool inlined = false;  // native: inlined into the next outer frame
  int line = 0;          // 0 unknown
  int module = -1;       // native: index of Report::modules, -1 unknown
  uint64_t offset = 0;   // native, without a function: where the module has the return address
  std::string file;      // Python: as the interpreter names it; native: source file, "" unknown
  std::string function;  // "" unknown

  auto key() const { return std::tie(python, inlined, line, module, offset, file, function); }
};

class Frames {
 public:
  int add(const Frame& frame);  // the index of that frame
  const std::vector<Frame>& all() const { return frames_; }
  const Frame& operator[](int index) const { return frames_[static_cast<size_t>(index)]; }

 private:
  using Key = std::tuple<bool, bool, int, int, uint64_t, std::string, std::string>;
  std::vector<Frame> frames_;
  std::map<Key, int> index_;
};

// A prefix tree: node 0 is the empty stack, and a parent has a smaller number than its children.
class Stacks {
 public:
  int add(const std::vector<int>& outermost_first);  // the node of the innermost frame
  std::vector<int> frames_of(int node) const;        // outermost first
  const std::vector<int>& parents() const { return parents_; }
  const std::vector<int>& frames() const { return frames_; }

 private:
  std::vector<int> parents_{-1};
  std::vector<int> frames_{-1};
  std::unordered_map<uint64_t, int> children_;
};

// One native frame for the merging: which frame it is, and what it is to the interpreter.
struct NativePart {
  int frame;
  bool evaluation = false;   // the interpreter's loop, which runs Python frames
  bool interpreter = false;  // in the interpreter's own module
  bool glue = false;         // the interpreter on its way from one call to the next
  bool nameless = false;     // in the interpreter's module, of a function without a name
};
struct PythonPart {
  int frame;
  bool entry = false;  // the outermost one of its call of the loop
};

// One stack of both, outermost first like its parts: each run of the loop's frames becomes the
// Python frames that it ran, what only leads from one to the next is left out. Parts are matched
// from the innermost on, since outer frames may be missing on either side. Where no frame is known
// as the loop, each run of frames in the interpreter's module stands for it.
std::vector<int> merge(const std::vector<PythonPart>& python,
                       const std::vector<NativePart>& native);

// What `function` of the interpreter is: its loop, or a step between two calls.
bool is_evaluation_loop(std::string_view function);
bool is_call_glue(std::string_view function);

// "cell [3]" or "notebook cell" for the file name of a cell, else "".
std::string cell_name(std::string_view file);

}  // namespace oomguard::tools
