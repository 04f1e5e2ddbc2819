"""Whatever stands in the file, it is a Config or a ConfigError; nothing else comes out."""

import string

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torana import config
from torana.config.view import schema
from torana.errors import ConfigError

NAMES = sorted({name for part in schema()["$defs"].values() for name in part["properties"]})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=True),
    st.text(string.printable, max_size=12),
    st.sampled_from(
        ["${HOME}", "${NOPE:-x}", "$${", "${file:none}", "openai/gpt-4o", "sqlite:///x.db", "http://h/v1"]
    ),
)
KEYS = st.one_of(st.sampled_from(NAMES), st.text(string.ascii_lowercase, min_size=1, max_size=4))
TREES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=24,
)
SECTIONS = st.dictionaries(
    st.sampled_from(["server", "store", "keys", "providers", "models", "log", "sever"]), TREES, max_size=4
)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def outcome(path, environ):
    try:
        found = config.load(path, environ)
    except ConfigError as exc:
        return str(exc) != ""
    config.redacted(found)
    return isinstance(found, config.Config)


@QUICK
@given(SECTIONS)
def test_any_tree_is_a_configuration_or_a_refusal(tmp_path, tree):
    path = tmp_path / "torana.yaml"
    path.write_text(yaml.safe_dump(tree))
    assert outcome(path, {"HOME": "x"}) is True


@QUICK
@given(st.binary(max_size=200) | st.text("{}[]:,-&*!|>'\"#%@`?$ \n\tab<", max_size=60).map(str.encode))
def test_any_bytes_are_a_configuration_or_a_refusal(tmp_path, content):
    path = tmp_path / "torana.yaml"
    path.write_bytes(content)
    assert outcome(path, {}) is True


@QUICK
@given(st.text(string.printable, max_size=30))
def test_any_value_of_a_variable_is_a_configuration_or_a_refusal(tmp_path, value):
    path = tmp_path / "torana.yaml"
    path.write_text(
        "server: {host: '${V:-x}', port: '${V:-1}', drain_s: '${V:-1}', public_models: '${V:-true}'}\n"
        "keys: [{name: '${V:-a}', secret: '${V:-0123456789abcdef}'}]\n"
        "providers: {openai: {api_key: '${V:-x}', base_url: '${V:-http://x}', headers: {x: '${V:-y}'}, query: '${V:-q}'}}\n"
        "models: {m: {targets: ['${V:-openai/m}'], price: {input: '${V:-1}'}}}\n"
    )
    assert outcome(path, {"V": value}) is True
