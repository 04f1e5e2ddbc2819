"""The closest names to one that is not known, so that an error can name what was meant."""

from collections.abc import Collection
from difflib import get_close_matches

NAME_CHARS_MAX = 100  # difflib is quadratic in the length of a name that a caller chose
CLOSEST = 3
CUTOFF = 0.6  # difflib's own default: "gpt5" finds "gpt-5", "banana" finds nothing


def nearest(name: str, candidates: Collection[str]) -> list[str]:
    """Up to three candidates, the closest first."""
    if not name or len(name) > NAME_CHARS_MAX:
        return []
    return get_close_matches(name, sorted(set(candidates)), n=CLOSEST, cutoff=CUTOFF)


def suggestion(name: str, candidates: Collection[str]) -> str:
    """The end of a sentence: ' Closest: gpt-5, gpt-5.5.', or nothing."""
    close = nearest(name, candidates)
    return f" Closest: {', '.join(close)}." if close else ""
