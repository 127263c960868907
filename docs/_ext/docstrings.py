"""Docstrings of this project as reStructuredText that Sphinx reads without a warning.

Docstrings are written for people: ``|X|`` is a magnitude and not a substitution, an
indented block of a module is a command, and a sentence may follow a list of arguments.
"""

import re

LITERAL = re.compile(r"(``.*?``|:math:`.*?`)")
BAR = re.compile(r"(?<!\\)\|")
UNDERLINE = re.compile(r"-{3,}$")
LIST_SECTIONS = ("Arguments", "Attributes", "Parameters", "Raises", "Returns", "Yields")


def indent_of(line):
    return len(line) - len(line.lstrip())


def sentences_first(lines):
    """Move sentences that follow the list of a section in front of the section.

    Napoleon takes each unindented line of a section for the name of an argument.

    Example
    -------
    >>> sentences_first(["Arguments", "---------", "x : int", "", "All are positive."])
    ['All are positive.', '', 'Arguments', '---------', 'x : int', '']
    """
    result, section = [], None  # the place where the current section begins
    i = 0
    while i < len(lines):
        line = lines[i]
        following = lines[i + 1] if i + 1 < len(lines) else ""
        if UNDERLINE.match(following):
            section = len(result) if line in LIST_SECTIONS else None
            result += [line, following]
            i += 2
            continue
        after_blank = not result or not result[-1].strip()
        if section is not None and after_blank and line and indent_of(line) == 0:
            end = i
            while end < len(lines) and lines[end].strip():
                end += 1
            paragraph = lines[i:end]
            if paragraph[-1].endswith("."):
                result[section:section] = [*paragraph, ""]
                section += len(paragraph) + 1
                i = end
                continue
        result.append(line)
        i += 1
    return result


def literal_blocks(lines):
    """Mark the indented blocks of a module's docstring as literal text.

    Example
    -------
    >>> literal_blocks(["Trains.", "", "    python train.py"])
    ['Trains.', '', '::', '', '    python train.py']
    """
    result, inside = [], False
    for line in lines:
        if line.strip():
            indented = line.startswith("    ")
            if indented and not inside and result and not result[-1].strip():
                before = next((text for text in reversed(result) if text.strip()), "")
                if not before.endswith("::"):
                    result += ["::", ""]
            inside = indented
        result.append(line)
    return result


def escape_bars(lines):
    """Escape vertical bars outside literals and examples.

    Example
    -------
    >>> escape_bars(["|X| of ``|x|``"])
    ['\\\\|X\\\\| of ``|x|``']
    """
    result, example, literal = [], False, None
    for line in lines:
        text = line.strip()
        if not text:
            example = False
        elif literal is not None and indent_of(line) <= literal:
            literal = None
        example = example or text.startswith(">>>")
        if literal is None and not example and not line.startswith(":type "):
            parts = LITERAL.split(line)
            parts[::2] = [BAR.sub(r"\\|", part) for part in parts[::2]]
            line = "".join(parts)
        result.append(line)
        if text.endswith("::") and literal is None:
            literal = indent_of(line)
    return result


def before_napoleon(app, what, name, obj, options, lines):
    lines[:] = sentences_first(lines)
    if what == "module":
        lines[:] = literal_blocks(lines)


def after_napoleon(app, what, name, obj, options, lines):
    lines[:] = escape_bars(lines)


def setup(app):
    app.connect("autodoc-process-docstring", before_napoleon, priority=100)
    app.connect("autodoc-process-docstring", after_napoleon, priority=900)
    return {"parallel_read_safe": True}
