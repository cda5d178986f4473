"""Which addresses this service may call when a stranger names them."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_METADATA = "metadata"
# The special-purpose registries of IANA (RFC 6890 and after), written out: what `ipaddress` calls global differs between patch releases
# of Python. The first that holds an address names it.
_KINDS: dict[str, tuple[str, ...]] = {
    # AWS with its containers, GCP, Azure (its wire server has a public address), OpenStack, Tencent, Alibaba, Oracle, Scaleway.
    _METADATA: (
        *("169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.0.23", "169.254.42.42", "168.63.129.16", "100.100.100.200"),
        *("192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42"),
    ),
    "unspecified": ("0.0.0.0/8", "::"),
    "loopback": ("127.0.0.0/8", "::1"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"),
    "carrier-grade NAT": ("100.64.0.0/10",),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "documentation": ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
    "benchmark": ("198.18.0.0/15", "2001:2::/48"),
    "6to4": ("192.88.99.0/24", "2002::/16"),
    "Teredo": ("2001::/32",),
    "local NAT64": ("64:ff9b:1::/48",),
    "reserved": ("192.0.0.0/24", "240.0.0.0/4", "2001::/23"),
}
_REFUSED = [(kind, ip_network(network)) for kind, networks in _KINDS.items() for network in networks]
_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL = IPv6Network("2000::/3")


class AddressRefused(Exception):
    """An address that this service must not call. str(): which one and why, without a URL's userinfo, path or query."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Public addresses may be called, and those in `allow_private`.

    A metadata service gives away the machine's own credentials: it may be called only where `allow_private` names it alone, not as a
    part of a larger network. An IPv4-mapped address is the IPv4 address in it; one behind the well-known NAT64 prefix is public where
    the address in it is.
    """

    allow_private: tuple[Network, ...] = ()

    def check(self, ip: Address, host: str | None = None) -> None:
        """Raises AddressRefused, in the name of `host` where one is given: what a name resolves to is not for everybody to know."""
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        kind = _kind(ip)
        if kind and not any(ip in network and (kind != _METADATA or network.num_addresses == 1) for network in self.allow_private):
            raise AddressRefused(f"{host or ip}: {kind} addresses are not called")


def _kind(ip: Address) -> str | None:
    """None for a public address."""
    if ip in _NAT64:
        return _kind(IPv4Address(int(ip) & 0xFFFFFFFF))
    for kind, network in _REFUSED:
        if ip in network:
            return kind
    return None if ip.version == 4 or ip in _GLOBAL else "reserved"
