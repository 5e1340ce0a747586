"""The PROXY protocol, version 1 and 2: what a proxy sends before the TLS of its client, to name that client."""

import ipaddress
import struct

V1 = b"PROXY "
V2 = b"\r\n\r\n\0\r\nQUIT\n"
MAX_V1_BYTES = 107
MAX_V2_BYTES = 2048  # of what follows the first 16: addresses, and what else the proxy adds
LOCAL = ""  # the client is the proxy itself, as for a check of its own
_ADDRESSES = {0x11: 4, 0x21: 16}  # bytes of an address, by family and transport: TCP over IPv4, over IPv6


def read_header(data: bytes) -> tuple[int, str | None] | None:
    """Return the size of the header at the start of a connection, and the client's address in it.

    The address is None without a header, and LOCAL for the proxy itself. Return None if the header is not whole yet.
    Raises ValueError for one that is malformed.
    """
    if data and V2.startswith(data[: len(V2)]):
        return _read_v2(data)
    if data and V1.startswith(data[: len(V1)]):
        return _read_v1(data)
    return (0, None) if data else None


def _read_v1(data: bytes) -> tuple[int, str] | None:
    line, end, _ = data[:MAX_V1_BYTES].partition(b"\r\n")
    if not end:
        if len(data) >= MAX_V1_BYTES:
            raise ValueError("its line does not end")
        return None
    words = line.decode("ascii").split(" ")
    if words[1] == "UNKNOWN":
        return len(line) + 2, LOCAL
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise ValueError("expected PROXY TCP4 or TCP6, two addresses and two ports")
    return len(line) + 2, str(ipaddress.ip_address(words[2]))


def _read_v2(data: bytes) -> tuple[int, str] | None:
    if len(data) < 16:
        return None
    command, family, length = struct.unpack_from("!BBH", data, 12)
    if command not in (0x20, 0x21) or length > MAX_V2_BYTES:
        raise ValueError(
            f"command {command:#x} with {length} bytes; expected 0x20 or 0x21 and at most {MAX_V2_BYTES}"
        )
    if len(data) < 16 + length:
        return None
    size = _ADDRESSES.get(family, 0)
    if command == 0x20 or not size:
        return 16 + length, LOCAL
    if length < 2 * size + 4:
        raise ValueError(f"{length} bytes of addresses; expected {2 * size + 4}")
    return 16 + length, str(ipaddress.ip_address(data[16 : 16 + size]))
