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
        elif obj.is_attribute and (told := comment_of(obj)):
            obj.docstring = griffe.Docstring(told, parent=obj)


def comment_of(attribute):
    """The comment behind a field on its own line: `name: type  # what it is`."""
    try:
        line = attribute.lines[0] if len(attribute.lines) == 1 else ""
    except (griffe.BuiltinModuleError, ValueError):
        return ""
    comment = re.search(r"  # (?!noqa|type:|fmt:)(.+)$", line)
    return comment[1] if comment else ""


def as_list(text):
    """Markdown with a bullet for each entry, and a blank line before the first one."""
    changed = ENTRY.sub(lambda entry: f"- **{entry['names']}**: {entry['told']}", text)
    return re.sub(r"(?m)^(?!- \*\*|\s)(.+)\n(?=- \*\*)", r"\1\n\n", changed)
