"""The ways to write an address that must not be called. The trap listens on 127.0.0.1, at the port that the forms name."""

from __future__ import annotations

import pytest

from serve_app.egress.address import AddressPolicy, AddressRefused
from serve_app.egress.client import FetchFailed
from tests.egress.common import reaching, trap

PUBLIC = "93.184.215.14"
NAMES = {
    "localhost": [["127.0.0.1", "::1"]],
    "pictures.example": [[PUBLIC]],
    "private.example": [["127.0.0.1"]],
    "half.example": [[PUBLIC, "127.0.0.1"]],
    "mapped.example": [["::ffff:127.0.0.1"]],
    "metadata.example": [["169.254.169.254"]],
    "xn--r8jz45g.example": [["127.0.0.1"]],
}
FORMS = {
    "loopback": "http://127.0.0.1:{port}/",
    "another_loopback": "http://127.8.9.10:{port}/",
    "loopback_over_tls": "https://127.0.0.1:{port}/",
    "ipv6_loopback": "http://[::1]:{port}/",
    "ipv6_loopback_in_full": "http://[0000:0000:0000:0000:0000:0000:0000:0001]:{port}/",
    "unspecified": "http://0.0.0.0:{port}/",
    "ipv6_unspecified": "http://[::]:{port}/",
    "this_network": "http://0.1.2.3:{port}/",
    "one_decimal_number": "http://2130706433:{port}/",
    "one_hexadecimal_number": "http://0x7f000001:{port}/",
    "one_hexadecimal_number_in_capitals": "http://0X7F000001:{port}/",
    "one_octal_number": "http://017700000001:{port}/",
    "zero": "http://0:{port}/",
    "hexadecimal_parts": "http://0x7f.0x0.0x0.0x1:{port}/",
    "octal_parts": "http://0177.0.0.01:{port}/",
    "leading_zeros": "http://127.000.000.001:{port}/",
    "two_parts": "http://127.1:{port}/",
    "three_parts": "http://127.0.1:{port}/",
    "mixed_parts": "http://0x7f.1:{port}/",
    "overflowing_number": "http://4294967297:{port}/",
    "overflowing_part": "http://383.0.0.1:{port}/",
    "trailing_dot": "http://127.0.0.1.:{port}/",
    "two_trailing_dots": "http://127.0.0.1..:{port}/",
    "ideographic_dots": "http://127。0。0。1:{port}/",
    "circled_digits": "http://①②⑦.⓪.⓪.①:{port}/",
    "fullwidth_digits": "http://１２７.0.0.1:{port}/",
    "arabic_digits": "http://١٢٧.0.0.1:{port}/",
    "percent_encoded_digits": "http://%31%32%37.0.0.1:{port}/",
    "null_byte": "http://127.0.0.1%00.pictures.example:{port}/",
    "tab_in_the_host": "http://127.0.\t0.1:{port}/",
    "line_break_in_the_host": "http://127.0.\r\n0.1:{port}/",
    "space_after_the_host": "http://127.0.0.1 :{port}/",
    "leading_space": " http://127.0.0.1:{port}/",
    "localhost": "http://localhost:{port}/",
    "localhost_in_capitals_with_a_dot": "http://LOCALHOST.:{port}/",
    "localhost_in_circled_letters": "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{port}/",
    "soft_hyphen": "http://local\u00adhost:{port}/",
    "userinfo_like_a_host": "http://pictures.example@127.0.0.1:{port}/",
    "userinfo_like_a_host_and_port": "http://pictures.example:80@127.0.0.1:{port}/",
    "two_at_signs": "http://a@pictures.example@127.0.0.1:{port}/",
    "backslash": "http://127.0.0.1:{port}\\@pictures.example/",
    "fragment_before_the_at_sign": "http://127.0.0.1:{port}#@pictures.example/",
    "query_before_the_at_sign": "http://127.0.0.1:{port}?@pictures.example/",
    "text_after_the_bracket": "http://[::1].pictures.example:{port}/",
    "text_before_the_bracket": "http://pictures.example[::1]:{port}/",
    "ipv6_zone": "http://[fe80::1%25eth0]:{port}/",
    "ipv6_zone_on_the_loopback": "http://[::1%25lo]:{port}/",
    "ipv6_of_the_future": "http://[v1.127.0.0.1:1]:{port}/",
    "private_10": "http://10.0.0.1/",
    "private_172": "http://172.16.0.1/",
    "private_192": "http://192.168.0.1/",
    "ipv6_unique_local": "http://[fd12:3456::1]/",
    "ipv6_site_local": "http://[fec0::1]/",
    "carrier_grade_nat": "http://100.64.0.1/",
    "link_local": "http://169.254.1.1/",
    "ipv6_link_local": "http://[fe80::1]/",
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "metadata_of_containers": "http://169.254.170.2/v2/credentials",
    "metadata_over_ipv6": "http://[fd00:ec2::254]/latest/meta-data/",
    "metadata_in_shared_space": "http://100.100.100.200/latest/meta-data/",
    "metadata_on_a_public_address": "http://168.63.129.16/machine",
    "metadata_as_a_number": "http://2852039166/latest/meta-data/",
    "metadata_by_name": "http://metadata.example/computeMetadata/v1/",
    "ipv4_mapped": "http://[::ffff:127.0.0.1]:{port}/",
    "ipv4_mapped_in_hexadecimal": "http://[::ffff:7f00:1]:{port}/",
    "ipv4_mapped_metadata": "http://[::ffff:169.254.169.254]/",
    "ipv4_compatible": "http://[::127.0.0.1]:{port}/",
    "ipv4_translated": "http://[::ffff:0:127.0.0.1]:{port}/",
    "nat64": "http://[64:ff9b::7f00:1]:{port}/",
    "nat64_metadata": "http://[64:ff9b::a9fe:a9fe]/",
    "nat64_of_the_network": "http://[64:ff9b:1::7f00:1]:{port}/",
    "six_to_four": "http://[2002:7f00:1::]:{port}/",
    "teredo": "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]:{port}/",
    "multicast": "http://224.0.0.1:{port}/",
    "ipv6_multicast": "http://[ff02::1]:{port}/",
    "broadcast": "http://255.255.255.255:{port}/",
    "reserved": "http://240.0.0.1:{port}/",
    "ipv6_reserved": "http://[4000::1]:{port}/",
    "documentation": "http://192.0.2.1:{port}/",
    "ipv6_documentation": "http://[2001:db8::1]:{port}/",
    "benchmark": "http://198.18.0.1:{port}/",
    "protocol_assignments": "http://192.0.0.1:{port}/",
    "name_of_a_private_address": "http://private.example:{port}/",
    "name_of_a_public_and_a_private_address": "http://half.example:{port}/",
    "name_of_a_mapped_address": "http://mapped.example:{port}/",
    "international_name_of_a_private_address": "http://例え.example:{port}/",
    "no_port": "http://127.0.0.1:0/",
    "file": "file:///etc/passwd",
    "file_with_a_host": "file://127.0.0.1/etc/passwd",
    "gopher": "gopher://127.0.0.1:{port}/_GET",
    "ftp": "ftp://127.0.0.1:{port}/",
    "websocket": "ws://127.0.0.1:{port}/",
    "data": "data:image/png;base64,AAAA",
    "no_scheme": "//127.0.0.1:{port}/",
    "no_host": "http:///127.0.0.1:{port}/",
    "one_slash": "http:/127.0.0.1:{port}/",
    "no_slash": "http:127.0.0.1:{port}/",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_a_form_of_what_must_not_be_called_is_refused(form: str) -> None:
    async with trap() as trapped, reaching(AddressPolicy(), NAMES) as egress:
        url = form.format(port=trapped.port)
        with pytest.raises(AddressRefused):
            await egress.post(url, b"{}", {}, timeout_s=5)
        with pytest.raises(FetchFailed) as failed:
            await egress.get(url, max_bytes=1000, timeout_s=5)
        assert failed.value.reason == "address"
        assert trapped.caught == 0


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST"])
async def test_the_systems_own_names_are_no_way_in(host: str) -> None:
    """With the system's lookups, not with a name server of the tests."""
    async with trap() as trapped, reaching(AddressPolicy()) as egress:
        with pytest.raises(FetchFailed) as failed:
            await egress.get(f"http://{host}:{trapped.port}/", max_bytes=1000, timeout_s=5)
        assert str(failed.value) == "localhost: loopback addresses are not called"
        assert trapped.caught == 0
