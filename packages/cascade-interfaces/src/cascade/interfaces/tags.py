"""Mask secrets in the tags of a run and the labels of an engine. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cascade.interfaces.events import Tag
from cascade.interfaces.redaction import MASK


def clean_tags(tags: Mapping[str, Tag], clean: Callable[[str], str]) -> dict[str, Tag]:
    """Return tags that may leave the process; ``clean`` prepares free text."""
    return {clean(tag): _clean_tag(tag, value, clean) for tag, value in tags.items()}


def _clean_tag(tag: str, value: Tag, clean: Callable[[str], str]) -> Tag:
    """Return the value that may leave the process: masked as a whole if the tag is named like a secret."""
    if not clean(f"{tag}=0").endswith("=0"):
        return MASK
    return clean(value) if isinstance(value, str) else value
