"""Reads the part of YAML that extra_model_paths.yaml uses: nested mappings, scalars, block scalars and lists.

Lists are understood only so that the caller fails on them as ComfyUI does. A document that starts with '{' is read as JSON.
"""

import json
import re

KEY = re.compile(r"""^("[^"]*"|'[^']*'|[^\s#'"\[\]{},&*!|>%@`][^#]*?)\s*:(?:\s+(.*))?$""")
BLOCK = re.compile(r"^([|>])([+-]?)\d?\s*(?:#.*)?$")
# In double quotes, as YAML 1.1 has them: JSON knows neither \x nor \U.
ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)")
ESCAPED = dict(zip('0abtnvfre "/\\N_LP', '\0\a\b\t\n\v\f\r\x1b "/\\\x85\xa0\u2028\u2029'))
WORDS = {"": None, "~": None, "null": None, "true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class YamlError(ValueError):
    """The text is not YAML, or uses a part of it that this reader does not know."""


def load(text):
    """The document as dictionaries, lists and scalars; None when there is nothing in it."""
    if text.lstrip().startswith("{"):
        return json.loads(text)
    reader = _Reader(text)
    value = reader.read_node(-1)
    if reader.peek() is not None:
        raise YamlError("line %d: unexpected indentation or text: %s" % (reader.position + 1, reader.peek().strip()))
    return value


def _indent(line):
    return len(line) - len(line.lstrip(" "))


def _strip_comment(text):
    """Cut a comment off a plain scalar."""
    return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()


def _unescaped(match):
    code = match.group(1)
    try:
        return chr(int(code[1:], 16)) if len(code) > 1 else ESCAPED[code]
    except (KeyError, ValueError, OverflowError) as error:
        raise YamlError("unknown escape: \\%s" % code) from error


def scalar(text):
    text = text.strip()
    if text[:1] in ("'", '"'):
        quote = text[0]
        body = re.match(r'^"((?:[^"\\]|\\.)*)"\s*(#.*)?$' if quote == '"' else r"^'((?:[^']|'')*)'\s*(#.*)?$", text)
        if body is None:
            raise YamlError("unfinished or trailing text after a quoted string: %s" % text)
        return ESCAPE.sub(_unescaped, body.group(1)) if quote == '"' else body.group(1).replace("''", "'")
    text = _strip_comment(text)
    if text.startswith("["):
        if not text.endswith("]"):
            raise YamlError("unfinished list: %s" % text)
        return [scalar(part) for part in text[1:-1].split(",") if part.strip()]
    if text == "{}":
        return {}
    if text[:1] in "{}]&*!%@`" and text:
        raise YamlError("not understood: %s" % text)
    if ": " in text or text.endswith(":"):
        raise YamlError("mapping values are not allowed here: %s" % text)
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if re.match(r"^[+-]?\d+$", text):
        return int(text)
    if re.match(r"^[+-]?\d+\.\d*$", text):
        return float(text)
    return text


class _Reader:
    """Walks the lines; every method leaves the position behind what it read."""

    def __init__(self, text):
        self.lines = text.replace("\r\n", "\n").split("\n")
        self.position = 0

    def peek(self):
        """The next line with content, or None at the end."""
        while self.position < len(self.lines):
            line = self.lines[self.position]
            bare = line.strip()
            if bare and not bare.startswith("#") and bare != "---":
                if "\t" in line[: len(line) - len(line.lstrip())]:
                    raise YamlError("line %d: tabs cannot indent" % (self.position + 1))
                return line
            self.position += 1
        return None

    def read_node(self, parent_indent):
        """A mapping, list or scalar that is indented deeper than its parent."""
        line = self.peek()
        if line is None or _indent(line) <= parent_indent:
            return None
        indent = _indent(line)
        if re.match(r"^\s*-(\s|$)", line):
            return self.read_list(indent)
        if KEY.match(line.strip()):
            return self.read_mapping(indent)
        return scalar(self.read_plain("", parent_indent))

    def read_mapping(self, indent):
        result = {}
        while True:
            line = self.peek()
            if line is None or _indent(line) < indent:
                return result
            match = KEY.match(line.strip())
            if _indent(line) > indent or match is None:
                raise YamlError("line %d: expected 'key: value' here: %s" % (self.position + 1, line.strip()))
            self.position += 1
            result[scalar(match.group(1))] = self.read_value(match.group(2) or "", indent)

    def read_value(self, rest, indent):
        block = BLOCK.match(rest)
        if block:
            return self.read_block(block.group(1), block.group(2), indent)
        if rest and not rest.startswith("#"):
            return scalar(self.read_plain(rest, indent))
        line = self.peek()
        if line is not None and _indent(line) == indent and re.match(r"^\s*-(\s|$)", line):
            return self.read_list(indent)
        return self.read_node(indent)

    def read_plain(self, first, indent):
        """A scalar that may go on in deeper indented lines, which are joined by blanks."""
        parts = [first] if first else []
        while True:
            line = self.peek()
            if line is None or _indent(line) <= indent:
                return " ".join(parts)
            parts.append(line.strip())
            self.position += 1

    def read_list(self, indent):
        result = []
        while True:
            line = self.peek()
            if line is None or _indent(line) != indent or not re.match(r"^\s*-(\s|$)", line):
                return result
            self.position += 1
            result.append(scalar(line.strip()[1:]))

    def read_block(self, style, chomp, indent):
        """A literal (|) or folded (>) block of lines."""
        lines = []
        while self.position < len(self.lines):
            line = self.lines[self.position]
            if line.strip() and _indent(line) <= indent:
                break
            lines.append(line)
            self.position += 1
        depth = min((_indent(line) for line in lines if line.strip()), default=0)
        text = ("\n" if style == "|" else " ").join(line[depth:].rstrip() for line in lines).rstrip()
        return text if chomp == "-" or not text else text + "\n"
