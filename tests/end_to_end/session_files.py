"""Reads the counters of session files (collector/record/flight.h) that guarded processes left."""
import dataclasses
import pathlib
import struct

VERSION = 5
_HEADER = struct.Struct("<8sIIIIiiIIQqqqqqIIQQQQ")
_REFUSAL = struct.Struct("<QQqqiiIIqqqqqqqqqIIIIII64s16s512s")


@dataclasses.dataclass
class Refusal:
    number: int
    incident: int
    at_monotonic_s: float
    outcome: int          # 1 refused, 2 an exception was sent, 3 only reported, 4 ended
    request_bytes: int
    headroom_bytes: int
    line_bytes: int
    reserve_bytes: int
    in_flight_bytes: int
    pending_bytes: int
    recorded_blocks: int
    surfaced: bool
    module: str


@dataclasses.dataclass
class Session:
    path: str
    pid: int
    started_monotonic_s: float
    python_version: int
    refusal_count: int
    incident_count: int
    surfaced_count: int
    fault_count: int
    refusals: list


def _refusal(data, offset):
    fields = _REFUSAL.unpack_from(data, offset)
    (number, incident, _, at_ns, _, _, _, outcome, request, headroom, line, reserve, in_flight,
     pending) = fields[:14]
    return Refusal(number, incident, at_ns / 1e9, outcome, request, headroom, line, reserve,
                   in_flight, pending, fields[17], bool(fields[22]),
                   fields[23].split(b"\0")[0].decode(errors="replace"))


def _session(path):
    data = path.read_bytes()
    fields = _HEADER.unpack_from(data)
    magic, version, header_bytes, refusal_bytes, slots, pid = fields[:6]
    assert magic == b"OOMFLIT\n" and version == VERSION, f"{path} is no session file"
    refusals = [_refusal(data, header_bytes + slot * refusal_bytes) for slot in range(slots)]
    refusals = sorted((r for r in refusals if r.number), key=lambda r: r.number)
    return Session(str(path), pid, fields[11] / 1e9, fields[15], *fields[17:21], refusals)


_SECTION = struct.Struct("<QIIII")
_SAMPLE = struct.Struct("<QqqqqqqqqqqQ")
_SECTIONS, _BEHIND_SECTIONS = 8, 40
_TIMELINE = 1


@dataclasses.dataclass
class Sample:
    at_monotonic_s: float
    needed_bytes: int
    headroom_bytes: int
    refusals: int


def samples(path):
    """The samples of a session file's timeline, oldest first: those of the finest ring."""
    data = pathlib.Path(path).read_bytes()
    header_bytes = _HEADER.unpack_from(data)[2]
    table = header_bytes - _BEHIND_SECTIONS - _SECTIONS * _SECTION.size
    offset, size = _SECTION.unpack_from(data, table + _TIMELINE * _SECTION.size)[:2]
    assert size == _SAMPLE.size, path
    looks = [_SAMPLE.unpack_from(data, offset + slot * size) for slot in range(256)]
    return [Sample(fields[1] / 1e9, fields[2], fields[5], fields[11])
            for fields in sorted(looks) if fields[0]]


def read_all(folder):
    """Every session below OOMGUARD_DIR=`folder`, oldest first."""
    files = pathlib.Path(folder).glob("sessions/*.flight")
    # The process may have been killed while it made its file: the magic is written last.
    made = [path for path in files if path.read_bytes()[:8].strip(b"\0")]
    return sorted((_session(path) for path in made), key=lambda s: s.started_monotonic_s)
