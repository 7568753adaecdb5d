"""Who is at the other end: address, origin, credential, proxies."""

from typing import Any

import pytest

from integrations.peers import Peer, client_scheme


def peer(*headers: tuple[str, str], trusted: tuple[str, ...] = (), **scope: Any) -> Peer:
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return Peer({"headers": raw, **scope}, trusted)


def behind(forwarded: str, *trusted: str, client: str = "10.0.0.1") -> str:
    """Return the address of a client that came through `client`."""
    return peer(("X-Forwarded-For", forwarded), client=(client, 5), trusted=trusted).address


def test_a_bare_scope_has_no_facts() -> None:
    nobody = peer()
    assert (nobody.origin, nobody.host, nobody.user_agent, nobody.token, nobody.address) == (None, "", "", None, "")
    assert not nobody.proxied


def test_headers_are_read_whatever_their_case() -> None:
    somebody = peer(("Origin", "https://a.example"), ("HOST", "gateway:8000"), ("User-agent", "x" * 400))
    assert (somebody.origin, somebody.host) == ("https://a.example", "gateway:8000")
    assert somebody.user_agent == "x" * 300


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "x-forwarded-proto", "X-FORWARDED-HOST"])
def test_a_proxy_is_seen_by_its_header(name: str) -> None:
    assert peer((name, "x")).proxied


def test_other_headers_are_no_proxy() -> None:
    assert not peer(("X-Real-Thing", "1"), ("Host", "x")).proxied


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ((), False),
        ((("Sec-Fetch-Site", "same-origin"),), True),
        ((("Sec-Fetch-Site", "same-site"),), False),
        ((("Sec-Fetch-Site", "cross-site"), ("Referer", "http://10.0.0.5:8000/chat/")), False),
        ((("Referer", "http://10.0.0.5:8000/chat/"),), True),
        ((("Referer", "http://10.0.0.5:80001/chat/"),), False),
        ((("Referer", "https://10.0.0.5:8000/chat/"),), False),
        ((("Referer", "http://evil.example/http://10.0.0.5:8000/"),), False),
    ],
)
def test_a_page_of_ours_is_known_also_where_it_only_reads(headers: tuple[tuple[str, str], ...], own: bool) -> None:
    assert peer(("Host", "10.0.0.5:8000"), *headers, scheme="http").is_own_page is own
    assert not peer(("Referer", "http:///"), scheme="http").is_own_page


# --- Credential --------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["Bearer abc", "bearer abc", "BEARER  abc "])
def test_a_bearer_header_is_the_credential(header: str) -> None:
    assert peer(("Authorization", header)).token == "abc"


def test_another_kind_of_authorization_is_none() -> None:
    assert peer(("Authorization", "Basic abc")).token is None


def test_the_query_carries_a_credential() -> None:
    assert peer(query_string=b"session_type=group&token=a%2Bb").token == "a+b"


def test_a_subprotocol_carries_a_credential_and_is_echoed() -> None:
    somebody = peer(subprotocols=["chat", "bearer.abc"])
    assert somebody.token == "abc"
    assert somebody.subprotocol == "bearer.abc"


def test_a_subprotocol_without_a_credential_is_not_echoed() -> None:
    assert peer(subprotocols=["chat"]).subprotocol is None


def test_the_header_wins_over_the_query_and_the_query_over_the_subprotocol() -> None:
    query, subprotocols = b"token=query", ["bearer.sub"]
    assert peer(("Authorization", "Bearer head"), query_string=query, subprotocols=subprotocols).token == "head"
    assert peer(query_string=query, subprotocols=subprotocols).token == "query"
    assert peer(query_string=b"token=", subprotocols=subprotocols).token == "sub"


def test_a_resume_token_is_the_header_s_else_a_subprotocol_s_which_is_echoed() -> None:
    header, offers = ("X-Resume-Token", "head"), ["chat", "resume.sub"]
    assert peer(header, subprotocols=offers).resume_token == "head"
    assert peer(subprotocols=offers).resume_token == "sub"
    assert peer(subprotocols=offers).subprotocol == "resume.sub"
    assert peer(subprotocols=["bearer.abc"]).resume_token == ""


def test_of_two_credentials_the_bearer_s_is_echoed() -> None:
    assert peer(subprotocols=["resume.sub", "bearer.abc"]).subprotocol == "bearer.abc"


# --- Query -------------------------------------------------------------------------------------


def test_the_last_of_equal_arguments_counts_and_empty_ones_are_kept() -> None:
    assert peer(query_string=b"a=1&a=2&b=").query == {"a": "2", "b": ""}


def test_a_query_in_utf_8_is_read() -> None:
    assert peer(query_string=b"session_id=%E5%AE%A2%E6%9C%8D").query == {"session_id": "客服"}


@pytest.mark.parametrize("query", [b"%", b"%zz=%", b"\xff\xfe", b"=&=&&", b"a" * 10_000])
def test_a_query_that_is_rubbish_is_read_as_text(query: bytes) -> None:
    assert all(isinstance(value, str) for value in peer(query_string=query).query.values())


# --- Address -----------------------------------------------------------------------------------


def test_the_socket_tells_the_address() -> None:
    assert peer(client=("192.0.2.7", 1234)).address == "192.0.2.7"


def test_without_trusted_proxies_a_forwarded_address_is_not_believed() -> None:
    assert behind("203.0.113.9") == "10.0.0.1"


def test_a_stranger_does_not_choose_its_address() -> None:
    assert behind("203.0.113.9", "10.0.0.0/8", client="198.51.100.2") == "198.51.100.2"


def test_behind_a_trusted_proxy_the_last_hop_is_the_client() -> None:
    assert behind("198.51.100.66, 203.0.113.9", "10.0.0.1") == "203.0.113.9"


def test_trusted_proxies_in_a_row_are_all_stepped_over() -> None:
    assert behind("203.0.113.9, 10.2.0.1, 10.3.0.1", "10.0.0.0/8") == "203.0.113.9"


@pytest.mark.parametrize(
    ("hop", "address"),
    [
        ("203.0.113.9:4711", "203.0.113.9"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
    ids=["IPv4 with port", "IPv6 with port", "IPv6 in brackets", "IPv6"],
)
def test_a_hop_is_read_with_and_without_its_port(hop: str, address: str) -> None:
    assert behind(hop, "10.0.0.0/8") == address


@pytest.mark.parametrize("hops", ["", " , ", "unknown", "203.0.113.9, unknown", "203.0.113.9, " + "x" * 500])
def test_a_hop_that_is_no_address_ends_the_search_at_who_told_of_it(hops: str) -> None:
    assert behind(hops, "10.0.0.0/8") == "10.0.0.1"
    assert behind(f"{hops}, 10.2.0.1", "10.0.0.0/8") == "10.2.0.1"


# --- Scheme ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "page"), [("ws", "http"), ("wss", "https"), ("http", "http"), ("https", "https")])
def test_a_sockets_scheme_is_that_of_its_pages(scheme: str, page: str) -> None:
    assert peer(scheme=scheme).scheme == page


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_limits_count_what_one_host_has_of_the_addresses(address: str, network: str) -> None:
    assert peer(client=(address, 5)).network == network


@pytest.mark.parametrize(
    ("said", "address", "scheme"),
    [
        ("https", "10.0.0.1", "https"),
        ("HTTPS ", "10.0.0.1", "https"),
        ("http", "10.0.0.1", "http"),
        ("https, http", "10.0.0.1", "http"),  # the nearest proxy's word, which is ours
        ("", "10.0.0.1", "http"),
        ("gopher", "10.0.0.1", "http"),
        ("https", "203.0.113.9", "http"),
        ("https", "", "http"),
    ],
)
def test_only_a_trusted_proxy_says_by_which_scheme_the_client_asked(said: str, address: str, scheme: str) -> None:
    assert client_scheme("http", said, address=address, trusted=("10.0.0.0/8",)) == scheme
