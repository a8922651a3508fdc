"""What a crash in the middle of SQLite's writes leaves of a database and its write-ahead log. Pure, over their bytes.

SQLite appends frames to the log, each a header and then a page, and syncs it. A checkpoint writes the newest pages of
the log into the database, syncs that, and may then empty or remove the log. A log that begins anew gets its header
first, which is synced. A killed process leaves the writes before its end; a power cut may also leave later ones without
earlier ones, of those that were not synced. Either may leave half a write.
"""

import random
import struct
from dataclasses import dataclass

PAGE_BYTES = 4096
"""The size of a page of the database; SQLite's default, which the store does not change."""
LOG_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES

_SALTS = struct.Struct(">8s")
_SALTS_OF_LOG, _SALTS_OF_FRAME = 16, 8


@dataclass(frozen=True, slots=True)
class Files:
    """The bytes of a database and of its log.

    Args:
        database: the one.
        log: the other; None where there is none.
    """

    database: bytes
    log: bytes | None


@dataclass(frozen=True, slots=True)
class _Write:
    at: int
    data: bytes
    is_synced: bool = False
    """Before the next one."""


def broken_off(before: Files, after: Files, chance: random.Random, *, power_cut: bool) -> Files:
    """Return what is left when one operation of SQLite's is broken off: a COMMIT, a checkpoint, or a close.

    Args:
        before: what there was.
        after: what there would have been.
        chance: decides where it is broken off.
        power_cut: whether what had not been synced is left in any order.
    """
    appended = _appended(before.log or b"", after.log or b"")
    moved = _changed(before.database, after.database)
    log = after.log if appended else before.log
    stages = ["append"] * bool(appended) + ["move"] * bool(moved) + ["end"] * (log != after.log)
    match chance.choice(stages) if stages else None:
        case "append":
            return Files(before.database, _partly(before.log or b"", appended, chance, power_cut))
        case "move":
            return Files(_partly(before.database, moved, chance, power_cut), log)
        case "end":
            return Files(after.database, log)
        case _:
            return after


def lost_since(durable: Files, now: Files, chance: random.Random) -> Files:
    """Return what a power cut leaves of writes that were never synced, of the log and of the database."""
    log = _partly(durable.log or b"", _appended(durable.log or b"", now.log or b""), chance, power_cut=True)
    database = _partly(durable.database, _changed(durable.database, now.database), chance, power_cut=True)
    return Files(database, log or now.log)


def _appended(before: bytes, after: bytes) -> list[_Write]:
    """Return the writes that made one log of another: it grew, or began anew from its start."""
    frames = _frames(after)
    same = before[:LOG_HEADER_BYTES] == after[:LOG_HEADER_BYTES]
    known = _frames(before) if same else 0
    writes = [] if same or not frames else [_Write(0, after[:LOG_HEADER_BYTES], is_synced=True)]
    for number in range(known, frames):
        at = LOG_HEADER_BYTES + number * FRAME_BYTES
        page = at + FRAME_HEADER_BYTES
        writes += [_Write(at, after[at:page]), _Write(page, after[page : at + FRAME_BYTES])]
    return writes


def _frames(log: bytes) -> int:
    """Return how many frames belong to the log as it began last."""
    salts = log[_SALTS_OF_LOG : _SALTS_OF_LOG + _SALTS.size]
    number = 0
    while True:
        at = LOG_HEADER_BYTES + number * FRAME_BYTES
        if at + FRAME_BYTES > len(log) or log[at + _SALTS_OF_FRAME : at + _SALTS_OF_FRAME + _SALTS.size] != salts:
            return number
        number += 1


def _changed(before: bytes, after: bytes) -> list[_Write]:
    """Return the pages of a database that were written."""
    pages = [(at, after[at : at + PAGE_BYTES]) for at in range(0, len(after), PAGE_BYTES)]
    return [_Write(at, page) for at, page in pages if page != before[at : at + PAGE_BYTES]]


def _partly(before: bytes, writes: list[_Write], chance: random.Random, power_cut: bool) -> bytes:
    """Return a file after some of the writes, the last of them maybe by half."""
    done = writes[: chance.randrange(len(writes) + 1)]
    if power_cut and len(done) > 1:
        likely = chance.choice((0.5, 0.9))
        done = [write for write in writes if write.is_synced or chance.random() < likely]
    if done and chance.random() < 0.3 and (len(done) == 1 or not done[-1].is_synced):
        torn = done.pop()
        done.append(_Write(torn.at, torn.data[: chance.randrange(len(torn.data))]))
    file = bytearray(before)
    for write in done:
        file.extend(bytes(max(0, write.at - len(file))))
        file[write.at : write.at + len(write.data)] = write.data
    return bytes(file)
