#include <string.h>

#include <algorithm>
#include <numeric>
#include <string_view>

#include "collector/fit/files.h"

namespace oomguard::fit {
namespace {

constexpr size_t kPiece = 1 << 16;
constexpr int64_t kMostHeader = int64_t{256} << 20;
constexpr uint64_t kMostName = 1 << 16;
constexpr uint64_t kMostEntries = 1'000'000;

// Elements and bytes of one block of each of ggml's types (ggml.c: type_traits).
struct Block {
  uint32_t type;
  uint32_t elements;
  uint32_t bytes;
  Dtype dtype;
};
constexpr Block kBlocks[] = {
    {0, 1, 4, Dtype::kFloat32},     {1, 1, 2, Dtype::kFloat16},     {2, 32, 18, Dtype::kBlocks},
    {3, 32, 20, Dtype::kBlocks},    {6, 32, 22, Dtype::kBlocks},    {7, 32, 24, Dtype::kBlocks},
    {8, 32, 34, Dtype::kBlocks},    {9, 32, 36, Dtype::kBlocks},    {10, 256, 84, Dtype::kBlocks},
    {11, 256, 110, Dtype::kBlocks}, {12, 256, 144, Dtype::kBlocks}, {13, 256, 176, Dtype::kBlocks},
    {14, 256, 210, Dtype::kBlocks}, {15, 256, 292, Dtype::kBlocks}, {16, 256, 66, Dtype::kBlocks},
    {17, 256, 74, Dtype::kBlocks},  {18, 256, 98, Dtype::kBlocks},  {19, 256, 50, Dtype::kBlocks},
    {20, 32, 18, Dtype::kBlocks},   {21, 256, 110, Dtype::kBlocks}, {22, 256, 82, Dtype::kBlocks},
    {23, 256, 136, Dtype::kBlocks}, {24, 1, 1, Dtype::kInt8},       {25, 1, 2, Dtype::kInt16},
    {26, 1, 4, Dtype::kInt32},      {27, 1, 8, Dtype::kInt64},      {28, 1, 8, Dtype::kFloat64},
    {29, 256, 56, Dtype::kBlocks},  {30, 1, 2, Dtype::kBfloat16},   {34, 256, 54, Dtype::kBlocks},
    {35, 256, 66, Dtype::kBlocks},  {39, 32, 17, Dtype::kBlocks},
};

// The header from its beginning on, a piece at a time. It ends where the file or 256 MiB do.
class Stream {
 public:
  explicit Stream(const Source& source)
      : source_(source), end_(std::min(source.size(), kMostHeader)) {}

  bool take(void* to, size_t bytes) {
    auto* at = static_cast<char*>(to);
    while (bytes > 0) {
      if (used_ == piece_.size() && !refill()) return false;
      const size_t some = std::min(bytes, piece_.size() - used_);
      memcpy(at, piece_.data() + used_, some);
      used_ += some;
      at += some;
      bytes -= some;
    }
    return true;
  }
  template <typename T>
  bool take(T* value) {
    return take(value, sizeof *value);
  }
  bool text(std::string* value) {
    uint64_t length = 0;
    if (!take(&length) || length > kMostName || length > left()) return false;
    value->resize(length);
    return take(value->data(), length);
  }
  bool skip(uint64_t bytes) {
    if (bytes > left()) return false;
    const uint64_t buffered = piece_.size() - used_;
    if (bytes <= buffered) {
      used_ += bytes;
    } else {
      next_ += static_cast<int64_t>(bytes - buffered);
      used_ = piece_.size();
    }
    return true;
  }
  bool skip_text() {
    uint64_t length = 0;
    return take(&length) && skip(length);
  }
  uint64_t at() const { return static_cast<uint64_t>(next_) - (piece_.size() - used_); }
  uint64_t left() const { return static_cast<uint64_t>(end_) - at(); }

 private:
  bool refill() {
    const int64_t some = std::min<int64_t>(kPiece, end_ - next_);
    if (some <= 0) return false;
    piece_.resize(static_cast<size_t>(some));
    if (!source_.read(next_, piece_.data(), piece_.size())) return false;
    next_ += some;
    used_ = 0;
    return true;
  }

  const Source& source_;
  const int64_t end_;
  std::string piece_;
  size_t used_ = 0;
  int64_t next_ = 0;
};

// Bytes of a metadata value by its type; 0 for text and arrays.
uint64_t width_of(uint32_t type) {
  constexpr uint64_t kWidths[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < std::size(kWidths) ? kWidths[type] : 0;
}
constexpr uint32_t kText = 8;
constexpr uint32_t kArray = 9;
constexpr uint32_t kUint32 = 4;

bool skip_value(Stream* in, uint32_t type) {
  if (type == kText) return in->skip_text();
  if (type != kArray) return width_of(type) != 0 && in->skip(width_of(type));
  uint32_t of = 0;
  uint64_t count = 0;
  if (!in->take(&of) || !in->take(&count) || count > in->left()) return false;
  if (of == kText && count > in->left() / sizeof(uint64_t)) return false;
  if (of != kText) return width_of(of) != 0 && in->skip(count * width_of(of));
  for (uint64_t i = 0; i < count; ++i) {
    if (!in->skip_text()) return false;
  }
  return true;
}

}  // namespace

Result<bool> read_gguf(const Source& source, uint32_t file, std::vector<Tensor>* tensors) {
  Stream in(source);
  uint32_t magic = 0;
  uint32_t version = 0;
  uint64_t tensor_count = 0;
  uint64_t entry_count = 0;
  const Error cut_off =
      source.wrong("its GGUF header is cut off, larger than 256 MiB, or not of that kind");
  if (!in.take(&magic) || !in.take(&version)) return cut_off;
  if (version != 2 && version != 3) {
    return source.wrong("GGUF of version " + std::to_string(version) + "; 2 and 3 are known" +
                        ((version & 0xffff) == 0 ? " (big-endian)" : ""));
  }
  if (!in.take(&tensor_count) || !in.take(&entry_count)) return cut_off;
  if (tensor_count > kMostTensors || entry_count > kMostEntries) {
    return source.wrong("more than a million tensors or metadata entries");
  }
  uint64_t alignment = 32;
  std::string name;
  for (uint64_t i = 0; i < entry_count; ++i) {
    uint32_t type = 0;
    if (!in.text(&name) || !in.take(&type)) return cut_off;
    if (name == "general.alignment" && type == kUint32) {
      uint32_t value = 0;
      if (!in.take(&value)) return cut_off;
      if (value == 0 || (value & (value - 1)) != 0) {
        return source.wrong("an alignment of " + std::to_string(value));
      }
      alignment = value;
    } else if (!skip_value(&in, type)) {
      return source.wrong("metadata " + name + ": cut off, too large, or of an unknown type");
    }
  }
  std::vector<uint64_t> offsets;
  const size_t first = tensors->size();
  for (uint64_t i = 0; i < tensor_count; ++i) {
    uint32_t dimensions = 0;
    uint32_t type = 0;
    uint64_t offset = 0;
    if (!in.text(&name) || !in.take(&dimensions)) return cut_off;
    const auto wrong = [&](const char* what) {
      return source.wrong("tensor " + name + ": " + what);
    };
    if (dimensions > 8) return wrong("more than 8 dimensions");
    uint64_t elements = 1;
    for (uint32_t d = 0; d < dimensions; ++d) {
      uint64_t length = 0;
      if (!in.take(&length)) return cut_off;
      if (__builtin_mul_overflow(elements, length, &elements) || elements > INT64_MAX / 1024) {
        return wrong("a shape that is too large");
      }
    }
    if (!in.take(&type) || !in.take(&offset)) return cut_off;
    const auto* block = std::ranges::find(kBlocks, type, &Block::type);
    if (block == std::end(kBlocks)) {
      return source.wrong("tensor " + name + ": of ggml's type " + std::to_string(type) +
                          ", which is not known");
    }
    if (elements % block->elements != 0) return wrong("no whole blocks");
    tensors->push_back({name, block->dtype, static_cast<int64_t>(elements),
                        static_cast<int64_t>(elements / block->elements * block->bytes), dimensions,
                        file, false});
    offsets.push_back(offset);
  }
  const uint64_t size = static_cast<uint64_t>(source.size());
  uint64_t data = 0;
  if (__builtin_add_overflow(in.at(), alignment - 1, &data)) return cut_off;
  data &= ~(alignment - 1);
  std::vector<size_t> order(offsets.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t i) { return offsets[i]; });
  uint64_t end = 0;  // of the data so far
  for (const size_t i : order) {
    const Tensor& tensor = (*tensors)[first + i];
    const auto bytes = static_cast<uint64_t>(tensor.bytes);
    if (data > size || offsets[i] > size - data || bytes > size - data - offsets[i]) {
      return source.wrong("tensor " + tensor.name +
                          ": the file ends before it does (an unfinished download?)");
    }
    if (offsets[i] < end)
      return source.wrong("tensor " + tensor.name + ": it overlaps another tensor");
    end = offsets[i] + bytes;
  }
  return true;
}

}  // namespace oomguard::fit
