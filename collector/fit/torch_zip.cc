#include <string.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "collector/fit/files.h"
#include "collector/fit/pickle.h"

namespace oomguard::fit {
namespace {

constexpr uint64_t kMostDirectory = uint64_t{256} << 20;
constexpr uint64_t kMostPickle = uint64_t{64} << 20;

struct Member {
  std::string name;
  uint64_t size = 0;
  uint64_t header = 0;  // where its local header is
  bool stored = false;
};

uint64_t number(const std::string& from, size_t at, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = bytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(from[at + i]);
  return value;
}

// Where the central directory is, by the record at the archive's end (APPNOTE.TXT 4.3.16, 4.3.14).
struct Directory {
  uint64_t at = 0;
  uint64_t bytes = 0;
};
Result<Directory> find_directory(const Source& source) {
  const int64_t looked = std::min<int64_t>(source.size(), 65535 + 22);
  std::string end(static_cast<size_t>(looked), '\0');
  if (!source.read(source.size() - looked, end.data(), end.size())) {
    return source.wrong("it cannot be read");
  }
  const size_t record = end.rfind(std::string("PK\5\6", 4));
  if (record == std::string::npos || end.size() - record < 22) {
    return source.wrong("a zip archive without its end (an unfinished download?)");
  }
  Directory found{number(end, record + 16, 4), number(end, record + 12, 4)};
  const bool is_long = record >= 20 && end.compare(record - 20, 4, "PK\6\7", 4) == 0;
  if (is_long) {
    std::string longer(56, '\0');
    const uint64_t at = number(end, record - 20 + 8, 8);
    if (at > INT64_MAX || !source.read(static_cast<int64_t>(at), longer.data(), longer.size()) ||
        longer.compare(0, 4, "PK\6\6", 4) != 0) {
      return source.wrong("a zip64 archive without its end");
    }
    found = {number(longer, 48, 8), number(longer, 40, 8)};
  }
  if (found.bytes > kMostDirectory) return source.wrong("a zip directory of more than 256 MiB");
  return found;
}

// The sizes above 4 GiB are in an extra field (APPNOTE.TXT 4.5.3), those that need it in this
// order.
bool read_long_sizes(const std::string& extra, uint64_t* stored, uint64_t* size, uint64_t* header) {
  for (size_t at = 0; at + 4 <= extra.size();) {
    const size_t bytes = number(extra, at + 2, 2);
    if (bytes > extra.size() - at - 4) return false;
    if (number(extra, at, 2) != 1) {
      at += 4 + bytes;
      continue;
    }
    size_t from = at + 4;
    for (uint64_t* value : {size, stored, header}) {
      if (*value != 0xffffffff) continue;
      if (from + 8 > at + 4 + bytes) return false;
      *value = number(extra, from, 8);
      from += 8;
    }
    return true;
  }
  return true;
}

Result<std::vector<Member>> read_members(const Source& source) {
  const auto directory = find_directory(source);
  if (!directory) return directory.error();
  std::string text(directory->bytes, '\0');
  if (directory->at > INT64_MAX ||
      !source.read(static_cast<int64_t>(directory->at), text.data(), text.size())) {
    return source.wrong("its zip directory is not in the file");
  }
  std::vector<Member> members;
  for (size_t at = 0; at + 46 <= text.size();) {
    if (text.compare(at, 4, "PK\1\2", 4) != 0) break;
    const size_t name = number(text, at + 28, 2);
    const size_t extra = number(text, at + 30, 2);
    const size_t comment = number(text, at + 32, 2);
    if (name + extra + comment > text.size() - at - 46) {
      return source.wrong("its zip directory is cut off");
    }
    Member member{text.substr(at + 46, name), number(text, at + 24, 4), number(text, at + 42, 4),
                  number(text, at + 10, 2) == 0};
    uint64_t stored = number(text, at + 20, 4);
    if (!read_long_sizes(text.substr(at + 46 + name, extra), &stored, &member.size,
                         &member.header)) {
      return source.wrong("member " + member.name + ": its size is cut off");
    }
    const uint64_t file = static_cast<uint64_t>(source.size());
    if (member.header > file || stored > file - member.header ||
        (member.stored && stored != member.size)) {
      return source.wrong("member " + member.name + " is larger than the file");
    }
    if (members.size() == kMostTensors) return source.wrong("more than a million members");
    members.push_back(std::move(member));
    at += 46 + name + extra + comment;
  }
  return members;
}

// What is stored behind the member's local header (APPNOTE.TXT 4.3.7); false where it is compressed
// or not there.
bool read_member(const Source& source, const Member& member, std::string* text) {
  std::string header(30, '\0');
  const auto at = static_cast<int64_t>(member.header);
  if (!member.stored || member.size > kMostPickle || !source.read(at, header.data(), 30) ||
      header.compare(0, 4, "PK\3\4", 4) != 0) {
    return false;
  }
  text->resize(member.size);
  const auto skipped = static_cast<int64_t>(30 + number(header, 26, 2) + number(header, 28, 2));
  return source.read(at + skipped, text->data(), text->size());
}

// What "data/KEY" has, and what tensors show of it.
struct Storage {
  int64_t bytes = 0;
  int64_t left = 0;                             // that no tensor has been given yet
  std::set<std::pair<int64_t, int64_t>> shown;  // first element, number of them
};

std::string behind_folder(const std::string& name) {
  const size_t slash = name.find('/');
  return slash == std::string::npos ? name : name.substr(slash + 1);
}

}  // namespace

Result<bool> read_torch_zip(const Source& source, uint32_t file, std::vector<Tensor>* tensors) {
  const auto members = read_members(source);
  if (!members) return members.error();
  std::unordered_map<std::string, Storage> storages;  // by what follows "data/"
  std::string pickle;
  for (const Member& member : *members) {
    const std::string name = behind_folder(member.name);
    if (name == "data.pkl" && pickle.empty()) {
      if (!read_member(source, member, &pickle)) {
        return source.wrong("its data.pkl is compressed, too large, or not in the file");
      }
    } else if (name.starts_with("data/")) {
      if (!member.stored) return source.wrong("member " + member.name + " is compressed");
      const auto bytes = static_cast<int64_t>(member.size);  // at most the file's
      storages[name.substr(5)] = {bytes, bytes, {}};
    }
  }
  if (pickle.empty())
    return source.wrong("a zip archive that torch.save did not make (no data.pkl)");

  std::vector<PickledTensor> pickled;
  if (!walk_pickle(pickle, &pickled)) {
    for (const auto& [key, storage] : storages) {
      tensors->push_back({"data/" + key, Dtype::kUnknown, 0, storage.bytes, 0, file, false});
    }
    return true;
  }
  size_t names = 0;  // a text can be the name of many tensors
  for (const PickledTensor& one : pickled) {
    names += one.name.size();
    if (names > kMostNames) return source.wrong("names of more than 64 MiB");
    const std::string name(one.name);
    const std::string key(one.storage);
    const auto found = storages.find(key);
    if (found == storages.end()) {
      return source.wrong("tensor " + name + ": its data/" + key + " is not there");
    }
    uint64_t bits = 0;
    const auto width = static_cast<uint64_t>(bits_of(one.dtype));
    if (__builtin_mul_overflow(static_cast<uint64_t>(one.elements), width, &bits)) {
      return source.wrong("tensor " + name + ": a shape that is too large");
    }
    Storage& storage = found->second;
    const bool shares = !storage.shown.emplace(one.offset, one.elements).second;
    // A view may repeat what it or another one shows: bytes of the storage count once.
    int64_t bytes = 0;
    if (!shares) {
      bytes = std::min<int64_t>(storage.left,
                                width == 0 ? INT64_MAX : static_cast<int64_t>(bits / 8));
    }
    storage.left -= bytes;
    tensors->push_back({name, one.dtype, one.elements, bytes, one.dimensions, file, shares});
  }
  return true;
}

}  // namespace oomguard::fit
