"""Who stands behind a connection: its peer, or whom a proxy names that is to be believed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable

__all__ = ["Proxies", "brings_others"]

# What proxies, balancers and tunnels add; they connect from this machine and bring requests from others.
_FORWARDING = re.compile(
    r"forwarded|via|x-real-ip|x-(forwarded|original|remote|envoy)-.+|(x-|x-cluster-|true-)?client-ip|cf-.+"
)
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}\Z|\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?\Z")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def brings_others(names: Iterable[str]) -> bool:
    """Whether headers of these names say that somebody passed the request on; whoever says so is no direct caller."""
    return any(_FORWARDING.fullmatch(name.lower()) for name in names)


class Proxies:
    """Networks of the proxies in front of this server, whose ``X-Forwarded-For`` is believed. Without any nobody's is."""

    def __init__(self, networks: Collection[str] = ()) -> None:
        """Raises ValueError for what is no network."""
        self._networks = tuple(ipaddress.ip_network(network) for network in networks)

    def known(self, peer: str) -> bool:
        """Whether the peer is one of them, and so never a caller itself."""
        address = _address(peer)
        return address is not None and self._one_of_us(address)

    def client(self, peer: str, forwarded: Iterable[str]) -> str:
        """The address of the caller: the last one named that is no proxy of ours.

        What stands before it a client may have made up. Something that is no address ends the reading at whoever wrote it.

        Args:
            forwarded: Every ``X-Forwarded-For``, in their order.
        """
        found = _address(peer)
        if found is None:
            return peer
        named = [part.strip() for header in forwarded for part in header.split(",")]
        while self._one_of_us(found) and named:
            before = _address(named.pop())
            if before is None:
                break
            found = before
        return str(found)

    def _one_of_us(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def _address(text: str) -> _Address | None:
    """An address as itself, with a port, or in brackets; of one of IPv4 in the clothes of IPv6 that of IPv4."""
    dressed = _WITH_PORT.match(text)
    try:
        address = ipaddress.ip_address((dressed[1] or dressed[2]) if dressed is not None else text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address
