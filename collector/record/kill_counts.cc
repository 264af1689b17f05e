#include "collector/record/kill_counts.h"

#include <string.h>

#include "collector/probe/kill_counts.h"

namespace oomguard::record {
namespace {

KillCountRecord record_of(const probe::KillCounts& counts) {
  return {counts.kills, counts.hits, counts.group_kills};
}

void put_group(GroupRecord* record, const probe::GroupKills& group) {
  record->key = group.key;
  record->kind = static_cast<uint32_t>(group.kind);
  record->limit_bytes = group.limit;
  record->seen = record_of(group.counts);
  record->end = record_of({});
  const size_t length = strnlen(group.path, sizeof record->path);
  // A path that is cut off names another group: without one its end stays unknown.
  const size_t kept = length < sizeof record->path ? length : 0;
  memcpy(record->path, group.path, kept);
  record->path[kept] = '\0';
}

void put_origin(FlightHeader* header, const char* proc) {
  probe::BootId boot;
  if (probe::read_boot_id(proc, &boot)) memcpy(header->boot_id, boot.words, sizeof boot.words);
  header->pid_namespace = probe::read_pid_namespace(proc);
}

}  // namespace

void put_kill_counts(FlightHeader* header, const probe::Probe& probe, bool machine) {
  const char* const proc = probe.state().proc;
  if (header->boot_id[0] == 0 && header->boot_id[1] == 0) put_origin(header, proc);
  probe::GroupKills group;
  uint32_t count = 0;
  while (count < kGroupSlots && probe::read_group_kills(probe, count, &group)) {
    put_group(&header->groups[count++], group);
  }
  header->group_count = count;
  header->ancestors_hidden = probe.ancestors_hidden() ? 1 : 0;
  if (machine) header->machine_kills = probe::read_machine_kills(proc);
}

}  // namespace oomguard::record
