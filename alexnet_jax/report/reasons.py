"""Why parts are missing from a report, in Chinese too.

The reasons are the messages of what could not be computed; names, commands and numbers in them stay as they
are. A message that is not known here stays English, which the page says.
"""

from __future__ import annotations

import re

from alexnet_jax.report.words import Words

# A message as the program has it, what is filled in as {name}, and the Chinese of it.
REASONS = {
    "{folder} holds no complete checkpoint: train first": "{folder} 里没有完整的检查点：请先训练",
    "{folder} is not prepared; type: {command}": "{folder} 还没有准备好；请输入：{command}",
    "{folder} is not a whole dataset: {why}; remove it and prepare it again": (
        "{folder} 不是完整的数据集：{why}；请删除它，再准备一次"
    ),
    "checkpoint {step} is damaged: {why}; choose another with --checkpoint": (
        "检查点 {step} 已损坏：{why}；请用 --checkpoint 选另一个"
    ),
    "{workdir} has no lines in {file}": "{workdir} 的 {file} 里没有任何一行",
    "the first layer, {layer}, is not a convolution": "第一层 {layer} 不是卷积层",
    "this net has no convolutions": "这个网络没有卷积层",
    "they are not numbers: these weights diverged": "它们不是数：这些权重已经发散",
    "the probabilities are not numbers: these weights diverged": "概率不是数：这些权重已经发散",
    "the values of {layer} are not numbers: these weights diverged": "{layer} 的值不是数：这些权重已经发散",
    "the weights in {workdir} reach {layer} only, and classes need the layers after it: features and "
    "fine-tuning can use these weights": (
        "{workdir} 里的权重只到 {layer}，要得出类别还需要它之后的层：features 与微调可以使用这些权重"
    ),
    "split {split} of {folder} holds no images (there are: {counts}); with few images say {flags}": (
        "{folder} 的划分 {split} 里没有图片（现有：{counts}）；图片很少时请加上 {flags}"
    ),
}


def _pattern(message: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", message)  # text, name, text, name, ... text
    filled = [f"(?P<{part}>.+)" if number % 2 else re.escape(part) for number, part in enumerate(parts)]
    return re.compile("".join(filled), re.DOTALL)


_PATTERNS = {_pattern(message): chinese for message, chinese in REASONS.items()}


def translated(reason: str) -> Words:
    """Return a reason in both languages."""
    for pattern, chinese in _PATTERNS.items():
        if found := pattern.fullmatch(reason):
            return Words(reason, chinese.format(**found.groupdict()))
    return Words(reason, f"（原文）{reason}")
