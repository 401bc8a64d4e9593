"""Turns the lines "name: what it is" of a docstring into a list; an extension of griffe for the site."""

import re

import griffe

# One or more names, a colon, text; further lines of an entry are indented.
ENTRY = re.compile(r"^(?P<names>\w+(?:, \w+)*): (?P<told>.*(?:\n[ ]+.*)*)", re.MULTILINE)


class Entries(griffe.Extension):
    """Makes entries of a docstring readable as a list."""

    def on_object(self, *, obj, **_):
        """Called by griffe for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = as_list(obj.docstring.value)


def as_list(text):
    """Markdown with a bullet for each entry, and a blank line before the first one."""
    changed = ENTRY.sub(lambda entry: f"- **{entry['names']}**: {entry['told']}", text)
    return re.sub(r"(?m)^(?!- \*\*|\s)(.+)\n(?=- \*\*)", r"\1\n\n", changed)
