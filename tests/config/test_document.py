"""The reading of YAML: lines, types, and what is refused."""

import pytest

from torana.config.document import (
    DEPTH_MAX,
    FILE_BYTES_MAX,
    VALUES_MAX,
    Scalar,
    Sequence,
    Table,
    line_of,
    parse,
)
from torana.errors import ConfigError


def value(text):
    return plain(parse(text.encode(), "t.yaml"))


def plain(node):
    match node:
        case Scalar():
            return node.value
        case Sequence():
            return [plain(item) for item in node.items]
        case Table():
            return {name: plain(item) for name, item in node.items.items()}


def refusal(text):
    with pytest.raises(ConfigError) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), "t.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("2024-08-06", "2024-08-06"),
        ("010", "010"),
        ("0x1f", "0x1f"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        (".nan", ".nan"),
        ("-.inf", "-.inf"),
        ("9" * 30, "9" * 30),
        ("true", True),
        ("null", None),
        ("~", None),
        ("0", 0),
        ("-12", -12),
        ("2.50", 2.5),
        ("1e3", 1000.0),
        ("'12'", "12"),
        ('"true"', "true"),
    ],
)
def test_only_the_plain_scalars_of_yaml_1_2_get_a_type(text, expected):
    assert value(f"a: {text}") == {"a": expected}


@pytest.mark.parametrize("text", ["", "# nothing here\n", "---\n", "null"])
def test_an_empty_file_is_an_empty_configuration(text):
    assert value(text) == {}


def test_a_byte_order_mark_is_not_part_of_the_first_key():
    assert parse(b"\xef\xbb\xbfa: 1", "t.yaml").items.keys() == {"a"}


def test_every_value_knows_its_line():
    root = parse(b"a:\n  b:\n    - 1\n    - c: 2\n", "t.yaml")
    assert line_of(root, ("a", "b", 1, "c")) == 4
    assert line_of(root, ("a", "b", 0)) == 3
    assert line_of(root, ("a", "nothing")) == 1


def test_a_key_that_stands_twice_is_refused_with_both_lines():
    assert refusal("server:\n  port: 1\n  host: x\n  port: 2\n") == (
        "t.yaml, line 4: the key 'port' stands twice (first on line 2)"
    )


def test_anchors_merges_and_aliases_do_what_yaml_says():
    text = "a: &x {one: 1, two: 2}\nb: {<<: *x, two: 3}\nc: *x\nd: {<<: [{z: 9, one: 8}, *x]}\n"
    assert value(text) == {
        "a": {"one": 1, "two": 2},
        "b": {"two": 3, "one": 1},
        "c": {"one": 1, "two": 2},
        "d": {"z": 9, "one": 8, "two": 2},
    }


def test_a_bomb_of_aliases_is_refused_before_it_grows():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert (
        refusal("\n".join(lines))
        == f"t.yaml, line 6: more than {VALUES_MAX} values once aliases are expanded"
    )


def test_a_bomb_of_merges_is_refused_too():
    lines = ["a0: &a0 {" + ", ".join(f"k{n}: 1" for n in range(9)) + "}"]
    lines += [
        f"a{n}: &a{n} [{', '.join([f'{{<<: *a{n - 1}}}' if n == 1 else f'*a{n - 1}'] * 9)}]"
        for n in range(1, 12)
    ]
    assert f"more than {VALUES_MAX} values" in refusal("\n".join(lines))


def test_an_alias_inside_its_own_anchor_is_refused():
    assert "an alias" in refusal("a: &a [*a]")


def test_an_unknown_alias_is_refused_without_repeating_what_may_be_a_secret():
    told = refusal("secret: *sk-hunter2hunter2")
    assert "hunter2" not in told
    assert "line 1" in told


@pytest.mark.parametrize(
    "text", ["a: !!python/object:os.system x", "a: !!int 3", "a: !custom [1]", "!!map {a: 1}"]
)
def test_tags_are_refused(text):
    assert "tags" in refusal(text)


def test_nesting_is_bounded():
    assert f"more than {DEPTH_MAX} levels" in refusal("a: " + "[" * 50_000)


@pytest.mark.parametrize("text", ["- a\n- b", "just words", "42"])
def test_the_top_level_is_a_mapping(text):
    assert "at the top level" in refusal(text)


def test_a_second_document_is_refused():
    assert refusal("a: 1\n---\nb: 2\n") == "t.yaml, line 2: a second document (`---`) in one file"


def test_what_is_not_yaml_is_refused_with_its_line_and_without_its_text():
    told = refusal("a: 1\nb: [sk-hunter2hunter2\nc: 3\n")
    assert told.startswith("t.yaml, line 3: not YAML")
    assert "hunter2" not in told


def test_what_is_not_utf8_is_refused_with_its_line():
    assert refusal(b"a: 1\nb: \xff\n") == "t.yaml, line 2: the file is not UTF-8 text"


def test_control_characters_are_refused():
    assert refusal(b"a: 1\nb: \x00\n").endswith("the file holds a control character")


def test_a_file_of_more_than_a_megabyte_is_refused():
    assert f"larger than {FILE_BYTES_MAX} bytes" in refusal(b"#" * (FILE_BYTES_MAX + 1))


def test_a_key_must_be_text():
    assert "a key must be plain text" in refusal("? [a, b]\n: 1\n")


def test_a_long_key_is_not_repeated_whole():
    key = "sk-torana-" + "x" * 43
    assert key not in refusal(f"{key}: 1\n{key}: 2\n")
