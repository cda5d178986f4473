from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serve_app.egress.address import AddressPolicy, AddressRefused

PUBLIC = ["1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"]


def refused(policy: AddressPolicy, address: str) -> bool:
    try:
        policy.check(ip_address(address))
    except AddressRefused:
        return True
    return False


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_called(address: str) -> None:
    assert not refused(AddressPolicy(), address)


def test_networks_with_dns64_reach_the_public_and_nothing_else() -> None:
    assert not refused(AddressPolicy(), "64:ff9b::8.8.8.8")
    assert refused(AddressPolicy((ip_network("127.0.0.0/8"),)), "64:ff9b::127.0.0.1"), "the loopback of the translator is not ours"


@given(st.one_of(st.ip_addresses(), st.ip_addresses(network="0.0.0.0/1"), st.ip_addresses(network="2000::/5")))
@example(ip_address("192.0.0.8"))
def test_what_python_knows_not_to_be_public_is_refused(ip: IPv4Address | IPv6Address) -> None:
    if not ip.is_global or ip.is_multicast:
        assert refused(AddressPolicy(), str(ip))


@given(st.ip_addresses(v=4))
@example(IPv4Address("169.254.169.254"))
def test_no_ipv6_form_opens_what_its_ipv4_address_is_refused(ip: IPv4Address) -> None:
    if refused(AddressPolicy(), str(ip)):
        for prefix in ("::ffff:", "64:ff9b::", "::", "::ffff:0:"):
            assert refused(AddressPolicy(), f"{prefix}{ip}")
        assert refused(AddressPolicy(), str(IPv6Address((0x2002 << 112) | (int(ip) << 80))))
        assert refused(AddressPolicy(), str(IPv6Address((0x20010000 << 96) | (int(ip) ^ 0xFFFFFFFF))))


def test_allowed_networks_may_be_called_in_their_ipv4_mapped_form_too() -> None:
    policy = AddressPolicy((ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")))
    assert not refused(policy, "10.1.2.3")
    assert not refused(policy, "::ffff:10.1.2.3")
    assert not refused(policy, "fd00:1::9")
    assert refused(policy, "10.2.0.1")
    assert refused(policy, "127.0.0.1")


@pytest.mark.parametrize(
    ("network", "metadata"),
    [
        ("169.254.0.0/16", "169.254.169.254"),
        ("100.64.0.0/10", "100.100.100.200"),
        ("fc00::/7", "fd00:ec2::254"),
        ("0.0.0.0/0", "168.63.129.16"),
    ],
)
def test_a_metadata_service_must_be_allowed_alone(network: str, metadata: str) -> None:
    wide = AddressPolicy((ip_network(network),))
    assert refused(wide, metadata)
    assert not refused(wide, str(ip_network(network)[9]))
    assert not refused(AddressPolicy((ip_network(metadata),)), metadata)


def test_the_refusal_says_the_host_and_why() -> None:
    with pytest.raises(AddressRefused, match=r"^10\.0\.0\.1: private addresses are not called$"):
        AddressPolicy().check(ip_address("10.0.0.1"))
    with pytest.raises(AddressRefused, match=r"^db\.example: private addresses are not called$"):
        AddressPolicy().check(ip_address("10.0.0.1"), "db.example")
