"""Secrets of keys: long, ours to recognise, kept as a digest."""

from hashlib import sha256
from math import log2

from torana.control.secrets import PREFIX, digest, is_ours, new_key, new_secret, prefix_of


def test_a_secret_is_the_prefix_and_43_characters_of_base_62():
    secrets = [new_secret() for _ in range(200)]
    assert {len(secret) for secret in secrets} == {53}
    assert all(secret.startswith(PREFIX) and secret[len(PREFIX) :].isalnum() for secret in secrets)
    assert len(set(secrets)) == 200
    assert 43 * log2(62) >= 256


def test_only_the_digest_and_a_beginning_are_kept():
    secret = new_secret()
    key = new_key("a", secret, 5)
    assert key.digest == sha256(secret.encode()).digest() == digest(secret)
    assert key.prefix == prefix_of(secret) == secret[:14]
    assert (key.name, key.created, key.revoked, key.source) == ("a", 5, 0, "store")
    assert secret not in repr(key)


def test_a_secret_of_another_make_shows_nothing_of_itself():
    assert prefix_of("hunter2hunter2hunter2") == ""
    assert [is_ours(text) for text in (new_secret(), "sk-torana-short", "x" * 53)] == [True, False, False]


def test_every_key_has_an_id_of_its_own():
    assert len({new_key("a", "x", 0).id for _ in range(100)}) == 100
