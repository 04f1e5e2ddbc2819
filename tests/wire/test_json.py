"""Reading JSON from outside: positions, splices, and one answer to bytes that are not JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torana.errors import DuplicateKey, Error, InvalidJson
from torana.wire.json import Object

from corpus import require

scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3)
)
objects = st.dictionaries(st.sampled_from(["model", "a", "b b", 'q"', "é", "stream"]), values, max_size=5)
spellings = st.sampled_from(
    [
        lambda o: json.dumps(o).encode(),
        lambda o: json.dumps(o, separators=(",", ":")).encode(),
        lambda o: json.dumps(o, indent=2).encode(),
        lambda o: json.dumps(o, ensure_ascii=False, separators=(",", ":")).encode(),
        lambda o: b" \n" + json.dumps(o, separators=(" ,", "\t: ")).encode() + b"\r\n ",
    ]
)


@given(
    objects, spellings, st.dictionaries(st.sampled_from(["model", "a", "b b", "new"]), scalars, max_size=3)
)
def test_splicing_changes_the_named_fields_and_no_others(value, spell, changes):
    edits = {k: None if v is None else json.dumps(v).encode() for k, v in changes.items()}
    expected = dict(value)
    for name, new in changes.items():
        if new is None:
            expected.pop(name, None)
        else:
            expected[name] = new
    assert json.loads(Object(spell(value)).splice(edits)) == expected


@given(objects, spellings)
def test_every_value_stands_where_its_span_says(value, spell):
    found = Object(spell(value))
    assert {k: json.loads(found.body[a:b]) for k, (_, a, b) in found.spans.items()} == value


@given(objects, spellings)
def test_nothing_to_change_leaves_every_byte(value, spell):
    body = spell(value)
    assert Object(body).splice({}) == body
    assert Object(body).splice({"absent": None}) == body


def test_bytes_around_an_edited_field_are_untouched():
    body = b'{ "x" : 1.50,\n  "model":"old" , "y":[ 1,2 ] }'
    assert Object(body).splice({"model": b'"new"'}) == b'{ "x" : 1.50,\n  "model":"new" , "y":[ 1,2 ] }'


def test_a_key_is_renamed_where_it_stands():
    assert Object(b'{"a":1,"b":2}').splice({}, {"a": "z"}) == b'{"z":1,"b":2}'


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":1,"b":2,"c":3,"d":4,"model":12}',
        b'{"a":1,"b":2,"model":3,"model":12345}',
        b'{"model": "a", "x": 1, "model": "a"}',
        b'{"model":1,"mod\\u0065l":2}',
    ],
)
def test_a_top_level_key_that_stands_twice_is_refused(body):
    with pytest.raises(DuplicateKey) as refused:
        Object(body)
    assert refused.value.param == "model"


def test_a_nested_key_of_the_same_name_is_no_duplicate():
    assert set(Object(b'{"model":"a","x":{"model":"b","model":"c"}}').fields) == {"model", "x"}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"1", b"{", b'{"a":NaN}', b'{"a":1}x', b"\xff", b'{"a":"\xff"}']
)
def test_anything_but_an_object_is_refused(body):
    with pytest.raises(InvalidJson):
        Object(body)


@given(st.binary(max_size=60))
def test_garbage_is_refused_with_our_error_or_read_alike(body):
    try:
        found = Object(body)
    except Error:
        return
    assert json.loads(body).keys() == found.fields.keys()


def test_deep_nesting_is_refused_not_a_crash():
    deep = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(InvalidJson):
        Object(deep)


def test_the_json_test_suite_is_read_as_it_asks():
    """Every n_ case is refused; every y_ case that is an object is read; no case raises anything else."""
    cases = sorted((require() / "hostile" / "json").glob("*.json"))
    assert len(cases) >= 318
    read, refused = 0, 0
    for path in cases:
        body = path.read_bytes()
        try:
            Object(body)
        except DuplicateKey:
            assert "duplicated_key" in path.name
        except InvalidJson:
            refused += 1
            assert not (path.name.startswith("y_object") and body.lstrip()[:1] == b"{"), path.name
        else:
            read += 1
            assert not path.name.startswith("n_"), path.name
    assert read > 0 and refused > 0
