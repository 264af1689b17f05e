#include <string.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "collector/fit/files.h"

namespace oomguard::fit {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMostHeader = 100'000'000;  // the library's own bound

struct Entry {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape;
  std::vector<uint64_t> offsets;
};

// {"name": {"dtype": "F32", "shape": [..], "data_offsets": [from, to]}, ..., "__metadata__": {..}}
class Header : public nlohmann::json_sax<Json> {
 public:
  std::vector<Entry> entries;
  std::string wrong;

  bool key(std::string& name) override {
    if (depth_ == 1) {
      if (entries.size() == kMostTensors) return fail("more than a million tensors");
      metadata_ = name == "__metadata__";
      if (!metadata_) entries.push_back({name, {}, {}, {}});
      numbers_ = nullptr;
    } else if (depth_ == 2) {
      field_ = metadata_ ? "" : name;
      numbers_ = nullptr;
      if (field_ == "shape") numbers_ = &entries.back().shape;
      if (field_ == "data_offsets") numbers_ = &entries.back().offsets;
    }
    return true;
  }
  bool string(std::string& value) override {
    if (depth_ == 2 && field_ == "dtype") entries.back().dtype = value;
    return depth_ > 0 || fail("no object");
  }
  bool number_unsigned(uint64_t value) override {
    if (depth_ != 3 || numbers_ == nullptr) return other();
    if (numbers_->size() == 64) return fail("more than 64 dimensions in " + entries.back().name);
    numbers_->push_back(value);
    return true;
  }
  bool number_integer(int64_t) override { return fail("a negative number in the header"); }
  bool number_float(double, const std::string&) override { return other(); }
  bool boolean(bool) override { return other(); }
  bool null() override { return other(); }
  bool binary(Json::binary_t&) override { return other(); }
  bool start_object(size_t) override { return enter(3); }
  bool start_array(size_t) override { return depth_ == 0 ? fail("no object") : enter(4); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool parse_error(size_t at, const std::string&, const nlohmann::detail::exception&) override {
    return fail("the header is no JSON at byte " + std::to_string(at));
  }

 private:
  bool enter(int most) { return ++depth_ <= most || fail("the header is nested too deep"); }
  bool leave() {
    --depth_;
    return true;
  }
  bool other() { return depth_ > 1 || fail("a tensor without a description"); }
  bool fail(const std::string& why) {
    if (wrong.empty()) wrong = why;
    return false;
  }

  int depth_ = 0;
  bool metadata_ = false;
  std::string field_;
  std::vector<uint64_t>* numbers_ = nullptr;
};

// "" where the entry is sound; else what is wrong with it.
std::string check(const Entry& entry, uint64_t data_bytes, Tensor* tensor) {
  const Dtype dtype = of_safetensors(entry.dtype);
  if (entry.offsets.size() != 2 || entry.offsets[0] > entry.offsets[1]) return "no data_offsets";
  const uint64_t bytes = entry.offsets[1] - entry.offsets[0];
  if (entry.offsets[1] > data_bytes) {
    return "the file ends " + std::to_string(entry.offsets[1] - data_bytes) +
           " bytes before it does (an unfinished download?)";
  }
  uint64_t elements = 1;
  for (const uint64_t length : entry.shape) {
    if (__builtin_mul_overflow(elements, length, &elements)) return "a shape that is too large";
  }
  uint64_t bits = 0;
  if (__builtin_mul_overflow(elements, static_cast<uint64_t>(bits_of(dtype)), &bits)) {
    return "a shape that is too large";
  }
  if (dtype != Dtype::kUnknown && bits != bytes * 8) {
    return "its shape needs " + std::to_string(bits / 8) + " bytes, and it has " +
           std::to_string(bytes);
  }
  if (elements > INT64_MAX) return "a shape that is too large";
  tensor->name = entry.name;
  tensor->dtype = dtype;
  tensor->elements = static_cast<int64_t>(elements);
  tensor->bytes = static_cast<int64_t>(bytes);
  tensor->dimensions = static_cast<uint32_t>(entry.shape.size());
  return "";
}

}  // namespace

Result<bool> read_safetensors(const Source& source, uint32_t file, std::vector<Tensor>* tensors) {
  unsigned char start[8];
  if (!source.read(0, start, sizeof start)) return source.wrong("shorter than a header's length");
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | start[i];
  if (length > kMostHeader) {
    return source.wrong("a header of " + std::to_string(length) +
                        " bytes, which is no safetensors");
  }
  const uint64_t size = static_cast<uint64_t>(source.size());
  if (length > size - 8) {
    return source.wrong("the header of " + std::to_string(length) +
                        " bytes does not fit into the "
                        "file of " +
                        std::to_string(size));
  }
  std::string text(length, '\0');
  if (!source.read(8, text.data(), text.size())) return source.wrong("it cannot be read");
  Header header;
  if (!Json::sax_parse(text, &header) || !header.wrong.empty()) return source.wrong(header.wrong);

  const uint64_t data_bytes = size - 8 - length;
  std::sort(header.entries.begin(), header.entries.end(),
            [](const Entry& a, const Entry& b) { return a.offsets < b.offsets; });
  uint64_t end = 0;
  for (const Entry& entry : header.entries) {
    Tensor tensor;
    tensor.file = file;
    std::string wrong = check(entry, data_bytes, &tensor);
    if (wrong.empty() && entry.offsets[0] < end) wrong = "it overlaps another tensor";
    if (wrong.empty() && entry.offsets[0] > end) wrong = "a gap before it";
    if (!wrong.empty()) return source.wrong("tensor " + entry.name + ": " + wrong);
    end = entry.offsets[1];
    tensors->push_back(std::move(tensor));
  }
  if (end != data_bytes) {
    return source.wrong(std::to_string(data_bytes - end) + " bytes after the last tensor");
  }
  return true;
}

}  // namespace oomguard::fit
