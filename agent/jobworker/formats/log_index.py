"""The records of a log's `index` and `first`, as described in ``docs/reference/on-disk-formats.md``."""

import struct

RECORD = struct.Struct("<QQQIBB2x")  # time ns, offset in the log, position in its stream, length, stream, gap
FIRST = struct.Struct("<QQI12x")  # number of the oldest record that is kept, its offset, a checksum of the two
STREAMS = ("out", "err")  # the names of the files, by the number of the stream
# Values of `gap`, why bytes are not in the log: the disk was full, the log had reached its bound, a power cut.
NO_ROOM, REFUSED, POWER_CUT = 1, 2, 3
