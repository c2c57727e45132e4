"""What an email address, URI, host name or IP address looks like, as RE2 patterns. Knows no columns.

Patterns, so that a whole column is judged at once and in time linear in the text. They follow the grammars (RFC 5321
without quoted local parts and address literals, 3986, 1123, 4291), and ask no name server.
"""

from __future__ import annotations

from msgspec import Struct


class TextFormat(Struct, frozen=True):
    """All patterns must match, and the text may be no longer than `max_length` characters, when it is given."""

    noun: str
    patterns: tuple[str, ...]
    max_length: int | None


_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_H16 = "[0-9A-Fa-f]{1,4}"
_LS32 = f"(?:{_H16}:{_H16}|{_IPV4})"
# The nine forms of RFC 3986: where "::" stands decides how many groups may come before and after it.
_IPV6 = "|".join(
    (
        f"(?:{_H16}:){{6}}{_LS32}",
        f"::(?:{_H16}:){{5}}{_LS32}",
        f"(?:{_H16})?::(?:{_H16}:){{4}}{_LS32}",
        f"(?:(?:{_H16}:){{0,1}}{_H16})?::(?:{_H16}:){{3}}{_LS32}",
        f"(?:(?:{_H16}:){{0,2}}{_H16})?::(?:{_H16}:){{2}}{_LS32}",
        f"(?:(?:{_H16}:){{0,3}}{_H16})?::{_H16}:{_LS32}",
        f"(?:(?:{_H16}:){{0,4}}{_H16})?::{_LS32}",
        f"(?:(?:{_H16}:){{0,5}}{_H16})?::{_H16}",
        f"(?:(?:{_H16}:){{0,6}}{_H16})?::",
    )
)
_URI_CHARACTER = r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"

# RE2 reads $ as the very end of the text: no line break slips in behind it.
TEXT_FORMATS: dict[str, TextFormat] = {
    "email": TextFormat("an email address", (rf"^{_ATOM}(?:\.{_ATOM})*@{_HOST}$", "^[^@]{1,64}@"), 254),
    "uri": TextFormat("a URI", (rf"^[A-Za-z][A-Za-z0-9+.-]*:{_URI_CHARACTER}+$", "^[^#]*#?[^#]*$"), None),
    "hostname": TextFormat("a host name", (f"^{_HOST}$",), 253),
    "ipv4": TextFormat("an IPv4 address", (f"^{_IPV4}$",), 15),
    "ipv6": TextFormat("an IPv6 address", (f"^(?:{_IPV6})$",), 45),
}
