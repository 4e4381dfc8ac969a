"""Texts in two languages."""

from alexnet_jax.report.words import Words, both, chinese_of, join


def test_values_stand_in_both_languages():
    """A value's own language is kept, and its braces are no names."""
    share = both("{share:.1%} of {whole}", "{whole} 的 {share:.1%}", share=0.25, whole="{x}")
    assert (share, share.chinese) == ("25.0% of {x}", "{x} 的 25.0%")
    nested = both("so: {share}", "即：{share}", share=share)
    assert (nested, nested.chinese) == ("so: 25.0% of {x}", "即：{x} 的 25.0%")


def test_a_name_is_the_same_in_both():
    assert Words("dog").chinese == "dog"
    assert Words("dog") == "dog"
    assert (chinese_of("dog"), chinese_of(3)) == ("dog", 3)


def test_texts_are_joined_in_each_language():
    joined = join("; ", [both("a", "甲"), both("b", "乙")])
    assert (joined, joined.chinese) == ("a; b", "甲; 乙")
