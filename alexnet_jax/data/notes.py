"""What a user should know of how images were read: each thing in one line, with how many and the first."""

from collections.abc import Iterable, Mapping
from typing import Any

from alexnet_jax.progress import printable


class Notes(dict[str, tuple[int, str]]):
    """{words: (how many images, the name of the first)}; JSON keeps it."""

    def add(self, name: str, words: Iterable[str]) -> None:
        """Note each of `words` of the image `name`."""
        for each in words:
            count, first = self.get(each, (0, name))
            self[each] = (count + 1, first)

    def merge(self, other: Mapping[str, Any]) -> None:
        """Add what was noted of other images."""
        for words, (count, first) in other.items():
            before, earlier = self.get(words, (0, first))
            self[words] = (before + count, earlier)

    def lines(self) -> list[str]:
        """Return a line for each thing that was noted."""
        return [
            f"note: {count:,} image{'s are' if count > 1 else ' is'} {words} (the first: {printable(first)})"
            for words, (count, first) in sorted(self.items())
        ]
