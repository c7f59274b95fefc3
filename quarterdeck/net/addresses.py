"""Which addresses are the public internet, whatever form of writing hides them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

__all__ = ["is_public"]

# `ipaddress.is_global` follows the registry's "globally reachable" column, which calls NAT64, 6to4 and IPv4-compatible
# forms of private addresses public and knows nothing of the endpoints that clouds put into public ranges.
_CLOSED_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared by carriers; also Alibaba's metadata address
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's host agent, seen from inside a virtual machine
            "169.254.0.0/16",  # link-local: the metadata address of most clouds
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation, as the two /24 below
            "192.88.99.0/24",  # former 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_UNICAST_V6 = IPv6Network("2000::/3")
_CLOSED_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, Teredo among them
            "2001:db8::/32",  # documentation, as the /20 below
            "3fff::/20",
        ),
    )
)
_SIX_TO_FOUR = IPv6Network("2002::/16")
# Prefixes after which the last 32 bits are an IPv4 address: mapped, translated, compatible, NAT64.
_EMBEDDING = tuple(map(IPv6Network, ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96")))


def is_public(address: str) -> bool:
    """True if `address`, an IP address in any notation `ipaddress` reads, lies on the public internet.

    IPv6 forms that carry an IPv4 address are judged by the address they carry. What is no address is not public.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        carried = _carried(parsed)
        if carried is None:
            return parsed in _UNICAST_V6 and not any(parsed in network for network in _CLOSED_V6)
        parsed = carried
    return not any(parsed in network for network in _CLOSED_V4)


def _carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address inside `address`, None if it carries none."""
    bits = int(address)
    if address in _SIX_TO_FOUR:
        return IPv4Address(bits >> 80 & 0xFFFF_FFFF)
    if any(address in network for network in _EMBEDDING):
        return IPv4Address(bits & 0xFFFF_FFFF)
    return None
