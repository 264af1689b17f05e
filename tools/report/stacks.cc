#include "tools/report/stacks.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace oomguard::tools {
namespace {

bool begins(std::string_view text, std::string_view with) {
  return text.substr(0, with.size()) == with;
}

size_t skip_digits(std::string_view text, size_t at) {
  while (at < text.size() && isdigit(static_cast<unsigned char>(text[at])) != 0) ++at;
  return at;
}

// Python frames are taken from the innermost outwards, one call of the loop at a time.
class PythonSide {
 public:
  PythonSide(const std::vector<PythonPart>& parts, std::vector<int>* inner_first)
      : parts_(parts), left_(parts.size()), out_(inner_first) {}

  static constexpr size_t kNone = SIZE_MAX;

  bool empty() const { return left_ == 0; }
  // Where the last frame that was taken stands among those of both.
  size_t outermost() const { return outermost_; }
  void take_call() {
    while (left_ > 0) {
      const PythonPart& part = parts_[--left_];
      put(part.frame);
      if (part.entry) return;
    }
  }
  void take_all() {
    while (left_ > 0) put(parts_[--left_].frame);
  }

 private:
  void put(int frame) {
    outermost_ = out_->size();
    out_->push_back(frame);
  }

  const std::vector<PythonPart>& parts_;
  size_t left_;
  size_t outermost_ = kNone;
  std::vector<int>* out_;
};

void merge_by_loop(const std::vector<NativePart>& native, PythonSide* python,
                   std::vector<int>* out) {
  bool innermost = true;  // no loop yet: what the line itself called
  for (size_t i = native.size(); i-- > 0;) {
    if (native[i].evaluation && !python->empty()) {
      python->take_call();
      innermost = false;
    } else if (!native[i].glue && !native[i].evaluation && (innermost || !native[i].nameless)) {
      out->push_back(native[i].frame);
    }
  }
  python->take_all();
}

void merge_by_module(const std::vector<NativePart>& native, PythonSide* python,
                     std::vector<int>* out) {
  const auto first = std::find_if(native.begin(), native.end(),
                                  [](const NativePart& part) { return part.interpreter; });
  const auto outermost_run = static_cast<size_t>(first - native.begin());
  for (size_t i = native.size(); i-- > 0;) {
    if (!native[i].interpreter) {
      out->push_back(native[i].frame);
      continue;
    }
    while (i > 0 && native[i - 1].interpreter) --i;
    if (i == outermost_run) {
      python->take_all();
    } else {
      python->take_call();
    }
  }
  python->take_all();
}

}  // namespace

int Frames::add(const Frame& frame) {
  const auto [at, is_new] = index_.try_emplace(Key(frame.key()), static_cast<int>(frames_.size()));
  if (is_new) frames_.push_back(frame);
  return at->second;
}

int Stacks::add(const std::vector<int>& outermost_first) {
  int node = 0;
  for (const int frame : outermost_first) {
    const uint64_t key = static_cast<uint64_t>(node) << 32 | static_cast<uint32_t>(frame);
    const auto [child, is_new] = children_.try_emplace(key, static_cast<int>(parents_.size()));
    if (is_new) {
      parents_.push_back(node);
      frames_.push_back(frame);
    }
    node = child->second;
  }
  return node;
}

std::vector<int> Stacks::frames_of(int node) const {
  std::vector<int> found;
  for (; node > 0; node = parents_[static_cast<size_t>(node)]) {
    found.push_back(frames_[static_cast<size_t>(node)]);
  }
  std::reverse(found.begin(), found.end());
  return found;
}

std::vector<int> merge(const std::vector<PythonPart>& python,
                       const std::vector<NativePart>& native) {
  std::vector<int> inner_first;
  PythonSide side(python, &inner_first);
  const bool loop_known = std::any_of(native.begin(), native.end(),
                                      [](const NativePart& part) { return part.evaluation; });
  if (loop_known) {
    merge_by_loop(native, &side, &inner_first);
  } else {
    merge_by_module(native, &side, &inner_first);
  }
  // What started the interpreter is the same for all, and missing where the stack was too deep.
  const size_t outermost = side.outermost();
  if (outermost != PythonSide::kNone) inner_first.resize(outermost + 1);
  std::reverse(inner_first.begin(), inner_first.end());
  return inner_first;
}

bool is_evaluation_loop(std::string_view function) {
  return begins(function, "_PyEval_EvalFrameDefault");
}

bool is_call_glue(std::string_view function) {
  static constexpr std::array kBeginnings = {"_PyEval_",
                                             "PyEval_",
                                             "_PyFunction_",
                                             "_PyObject_Call",
                                             "PyObject_Call",
                                             "_PyObject_Vectorcall",
                                             "PyObject_Vectorcall",
                                             "_PyObject_MakeTpCall",
                                             "_PyVectorcall",
                                             "PyVectorcall_",
                                             "method_vectorcall",
                                             "vectorcall_",
                                             "_PyStack_",
                                             "cfunction_",
                                             "slot_tp_",
                                             "type_call",
                                             "function_code_fastcall",
                                             "run_mod",
                                             "run_eval_code",
                                             "pyrun_",
                                             "_PyRun_",
                                             "PyRun_",
                                             "pymain_",
                                             "Py_RunMain",
                                             "Py_BytesMain",
                                             "Py_Main",
                                             "gen_send_ex",
                                             "gen_iternext",
                                             "call_function",
                                             "do_call_core",
                                             "builtin_exec",
                                             "builtin_eval",
                                             "__libc_start",
                                             "_start",
                                             "main"};
  for (const std::string_view beginning : kBeginnings) {
    if (beginning == "main" || beginning == "_start") {
      if (function == beginning) return true;
    } else if (begins(function, beginning)) {
      return true;
    }
  }
  return false;
}

std::string cell_name(std::string_view file) {
  constexpr std::string_view kIPython = "<ipython-input-";
  if (begins(file, kIPython)) {
    const size_t end = skip_digits(file, kIPython.size());
    const std::string_view number = file.substr(kIPython.size(), end - kIPython.size());
    return number.empty() ? "notebook cell" : "cell [" + std::string(number) + "]";
  }
  const size_t kernel = file.find("/ipykernel_");
  if (kernel == std::string_view::npos || !file.ends_with(".py")) return "";
  return file.find('/', kernel + 1) == std::string_view::npos ? "" : "notebook cell";
}

}  // namespace oomguard::tools
