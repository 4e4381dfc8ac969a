"""What the page says, in English and in Chinese."""

from __future__ import annotations


class Words(str):
    """An English text that knows itself in Chinese; names and numbers are the same in both."""

    chinese: str

    def __new__(cls, english: str, chinese: str | None = None) -> Words:
        """Make it of both; of one alone where it is the same in both languages."""
        words = super().__new__(cls, english)
        words.chinese = english if chinese is None else chinese
        return words


def both(english: str, chinese: str, **values: object) -> Words:
    """Return a text in both languages, with `values` in the place of their {names}.

    A value that is `Words` stands in each language as it is there.
    """
    return Words(
        english.format(**values),
        chinese.format(**{name: chinese_of(value) for name, value in values.items()}),
    )


def chinese_of(text: object) -> object:
    """Return a text as the Chinese page shows it: what has no Chinese is the same."""
    return text.chinese if isinstance(text, Words) else text


def join(separator: str, texts: list[Words]) -> Words:
    """Return texts one after the other."""
    return Words(separator.join(texts), separator.join(str(chinese_of(text)) for text in texts))
