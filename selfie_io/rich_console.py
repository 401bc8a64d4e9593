"""A console of rich on which text is text: no markup, no escape sequence of a name, no secret of a URL."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from selfie_io.console import harmless, without_secrets


class RichConsole(Console):
    """Shows class, file and config names as they are written; what controls a terminal as \\x1b."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"highlight": False, "markup": False, "emoji": False, **options})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich renders, with the text of each segment harmless; rich's own codes stay."""
        for segment in super().render(renderable, options):
            if segment.control or (segment.text.isprintable() and "://" not in segment.text):
                yield segment
            else:
                yield Segment(harmless(without_secrets(segment.text)), segment.style)
