#include "collector/probe/mapped_files.h"

namespace oomguard::probe {
namespace {

bool is_of(const Mapping& mapping, const MappedFile& file) {
  return mapping.inode == file.inode && mapping.major == file.major && mapping.minor == file.minor;
}

void add(const Mapping& mapping, const FileName& name, MappedFile* file) {
  const size_t size = mapping.end - mapping.start;
  file->bytes += static_cast<Bytes>(size);
  if (size <= file->size) return;
  file->start = mapping.start;
  file->size = size;
  file->name = name;
}

// The place for one that is not there yet: a free one, or the smallest's.
MappedFile* place(const Mapping& mapping, MappedFile* files, size_t* count, size_t capacity) {
  if (*count < capacity) return &files[(*count)++];
  MappedFile* smallest = files;
  for (size_t i = 1; i < *count; ++i) {
    if (files[i].bytes < smallest->bytes) smallest = &files[i];
  }
  return smallest->bytes < static_cast<Bytes>(mapping.end - mapping.start) ? smallest : nullptr;
}

size_t drop_small(MappedFile* files, size_t count, Bytes least) {
  size_t kept = 0;
  for (size_t i = 0; i < count; ++i) {
    if (files[i].bytes >= least) files[kept++] = files[i];
  }
  return kept;
}

void sort_by_size(MappedFile* files, size_t count) {
  for (size_t i = 1; i < count; ++i) {
    for (size_t at = i; at > 0 && files[at - 1].bytes < files[at].bytes; --at) {
      const MappedFile smaller = files[at - 1];
      files[at - 1] = files[at];
      files[at] = smaller;
    }
  }
}

}  // namespace

size_t find_mapped_files_in(CharStream& in, MappedFile* out, size_t capacity, Bytes least) {
  size_t count = 0;
  if (capacity == 0) return 0;
  Mapping mapping;
  FileName name;
  while (read_mapping(in, &mapping, &name)) {
    if (!mapping.of_file() || mapping.of_unnamed_memory() || mapping.end <= mapping.start) continue;
    MappedFile* file = nullptr;
    for (size_t i = 0; i < count && file == nullptr; ++i) {
      if (is_of(mapping, out[i])) file = &out[i];
    }
    if (file == nullptr) {
      file = place(mapping, out, &count, capacity);
      if (file == nullptr) continue;
      *file = MappedFile{};
      file->major = mapping.major;
      file->minor = mapping.minor;
      file->inode = mapping.inode;
    }
    add(mapping, name, file);
  }
  count = drop_small(out, count, least);
  sort_by_size(out, count);
  return count;
}

size_t find_mapped_files(MappedFile* out, size_t capacity, Bytes least) {
  const OneShot maps({"/proc/self", "maps"});
  if (!maps) return 0;
  CharStream in(maps.fd());
  return find_mapped_files_in(in, out, capacity, least);
}

}  // namespace oomguard::probe
