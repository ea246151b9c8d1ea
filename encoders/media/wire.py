"""What a decoding process and its parent say to each other: a header in JSON, then plain bytes.

    frame = length of the header (4 bytes, little-endian), header, then `header["size"]` bytes

Nothing is pickled: whatever a damaged file makes of the decoding process, its parent reads numbers only.
"""

import json
import struct
from typing import Any

LENGTH = struct.Struct("<I")
MAX_HEADER_BYTES = 1 << 16


def frame_head(header: dict[str, Any]) -> bytes:
    """Write the beginning of a frame; the bytes that it announces follow.

    >>> frame_head({"size": 0})
    b'\\x0b\\x00\\x00\\x00{"size": 0}'
    """
    text = json.dumps(header).encode()
    return LENGTH.pack(len(text)) + text
