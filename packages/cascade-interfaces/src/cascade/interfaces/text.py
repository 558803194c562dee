"""What text MQTT carries: in topics, client ids and user names (MQTT 5.0, section 1.5.4)."""

from __future__ import annotations

import re

MAX_BYTES = 65_535
"""The longest text, in bytes of UTF-8."""

_NONCHARACTERS = "".join(
    f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
)
UNSENDABLE = rf"\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NONCHARACTERS}"
"""What a broker may cut the link for, to stand in a class of a pattern: control characters, lone
surrogates and noncharacters (MQTT 3.1.1, section 1.5.3, says the same)."""

_FORBIDDEN = re.compile(f"[{UNSENDABLE}]")


def text_problem(text: str) -> str:
    """Return why a broker may cut the link for ``text``; nothing if it may be sent."""
    if _FORBIDDEN.search(text):
        return "has a control character, a noncharacter or a lone surrogate, for which brokers cut the link"
    if len(text) > MAX_BYTES // 4 and len(text.encode()) > MAX_BYTES:
        return f"is longer than {MAX_BYTES} bytes"
    return ""
