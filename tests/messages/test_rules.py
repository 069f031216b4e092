"""The house form of every text for people: no secret, whom it names, what it asks for."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable

import pytest
import rowcast
from rowcast.picture import SAMPLING
from rowcast.pixels.mosaic import Mosaic
from rowcast.requests import OPTION_NAMES

from tests.messages.collected import Text, is_a, parents, read, texts, trees

SECRETS = {"token", "tokens", "password", "secret", "url", "proxy"}
NO_SECRETS = {"start_token", "pixels_per_token", "READABLE"}
LEVELS = ("debug", "info", "warning", "error", "critical", "exception")
HARMLESS = ("redacted", "len", "type")  # what they make of a secret may be shown
NAMES = re.compile(r"[A-Z][A-Za-z]*[A-Z_]\w*|Rowcast|Lightning|Linux")  # with a capital
FAULT = re.compile(r"(error|failure|exception|cause)$")
ASKED = re.compile(
    r"(?:^|[;:.?(] |, (?:or )?|[;,:] (?:or|and) | or | and |please )(?:"
    "add|ask|begin|choose|correct|decode|draw|export|fetch|give|install|join|leave|make|name|pass|"
    "put|remove|report|run|save|say|serve|set|start|take|try|unset|use|write"
    r")\b|\?|`rowcast \w+`|: rowcast |should be",
    re.IGNORECASE,
)
# What would be right stands beside what is wrong, or the system says what is.
RIGHT = re.compile(
    r", not |\bneeds?\b|\bat (?:most|least)\b|\bannounced\b|strerror|the model .*\bhas\b"
)
ACTIONABLE = ("ConnectionFailed", "DetokenizerError", "ModelError", "ExportError")
# What was found out about a file goes into another error, which says that nothing was written; what
# a download or a cut link meets is the other end's affair, and is tried again.
OTHERS = ("ConnectionLost", "VerificationFailed", "FileRefused", "_CannotKeep")

# The texts that may break a rule: the rule, a part of the template, and why.
EXCEPTIONS = (
    ("secret", "{self._url} ", "download.py redacts it where it is made"),
    ("python", "cannot be loaded: {error!r}", "a fault of ours in a thread: its class is all"),
    ("argument", "{origin.count} pictures of one seed", "the product of --images and prompts"),
    ("argument", "{images} pictures do not fill whole rows", "two arguments that do not fit"),
    ("action", "cannot be loaded: {error!r}", "a fault of ours"),
    ("action", "{name} cannot be read: {error}", "the system says why"),
    ("action", "as they are known here", "it says which are known"),
    ("action", "cannot be fetched: ", "the words of the network, certificate or proxy"),
    ("action", "answered with another range", "of the other end"),
    ("action", "answered with status", "of the other end"),
    ("action", "the proxy that {told} names", "`fault` says what it must be"),
    ("action", "cannot be trusted: {untrusted(error)}", "`untrusted` says which variable"),
    ("action", "{shown}: {failure}", "of `closed_text`, by close code"),
    ("action", "refused: {said or status}; {advice}", "REFUSALS says what to do, by status"),
    ("action", "{_offline(name)}", "`_offline` says what to fetch"),
    ("action", "{path}: {what}", "msgspec says what it expected"),
    ("action", "{path}: `{key}`: {what}", "msgspec says what it expected"),
    ("action", "{tensors.path}: {error}", "the words of the reader of files"),
    ("action", "so nothing was written{advice}", "`advice` says it where there is any"),
    ("action", "{str(error)}", "http_client.open_client: the cause says it"),
)


def secret(value: ast.AST) -> bool:
    """True if an expression shows what may be a secret."""
    if isinstance(value, ast.Call) and getattr(value.func, "id", "") in HARMLESS:
        return False
    name = getattr(value, "id", getattr(value, "attr", ""))
    words = set(name.strip("_").split("_"))  # a constant in capitals is no secret
    if name not in NO_SECRETS and SECRETS & words:
        return True
    return any(secret(each) for each in ast.iter_child_nodes(value))


def arguments() -> set[str]:
    """The arguments of the public API, by name."""
    found = {*OPTION_NAMES, *SAMPLING}
    for each in [*(getattr(rowcast, name) for name in rowcast.__all__), Mosaic]:
        members = [vars(each) for each in each.__mro__] if inspect.isclass(each) else [{"": each}]
        for member in (member for names in members for member in names.values()):
            function = getattr(member, "__func__", member)
            if inspect.isfunction(function):
                found |= {*inspect.signature(function).parameters}
    return found - {"self", "cls", "error"}


def shows_a_secret(text: Text) -> bool:
    return any(secret(value) for value in text.values)


def names_no_argument(text: Text) -> bool:
    """Its first words are an argument, `{name}` of one, an option or a path as it was typed."""
    if not is_a(text.teller, "InvalidRequest"):
        return False
    first = re.sub(r"^(the|unknown) ", "", text.template)
    if re.match(r"\{(name|path|options\.\w+)\}|--[a-z]|\{\w+\}prompt", first):
        return False
    return re.match(r"\w*", first)[0] not in ARGUMENTS  # type: ignore[index]


def is_no_fragment(text: Text) -> bool:
    return bool(
        re.search(r"[^.…]\.$|[!\s]$|^\s", text.template)
        or re.match(r"(error|warning|fault)\b", text.template, re.IGNORECASE)
        or (re.match(r"[A-Z]", text.template) and not NAMES.match(text.template))
    )


def shows_python(text: Text) -> bool:
    """Class names of exceptions, and the `repr` of anything but what somebody gave."""
    shown = [match[1] for match in re.finditer(r"\{([^{}]*)!r\}", text.template)]
    return bool(
        any(FAULT.search(each) for each in shown)
        or re.search(r"type\(\w*(error|failure|exception)\)|__class__|NoneType", text.template)
        or re.search(r"\b[A-Z]\w*(Error|Exception)\b|<\w+ object", text.template)
    )


def asks_for_nothing(text: Text) -> bool:
    """Nothing in it is asked for, and nothing tells what would be right."""
    if not is_a(text.teller, *ACTIONABLE) or is_a(text.teller, *OTHERS):
        return False
    return not (ASKED.search(text.template) or RIGHT.search(text.template))


ARGUMENTS = arguments()
RULES: dict[str, Callable[[Text], bool]] = {
    "secret": shows_a_secret,
    "argument": names_no_argument,
    "fragment": is_no_fragment,
    "python": shows_python,
    "action": asks_for_nothing,
}
# Texts that break each rule, and one that does not.
EXAMPLES = {
    "secret": (
        *('raise ConnectionFailed(f"{url} is away; try again")', 'complain(f"no {self._token!r}")'),
        *('log.warning("%s; try again", proxy)', "parser.error(f'{parts(options.url)} is wrong')"),
    ),
    "argument": (
        *('raise InvalidRequest("that cannot be")', 'raise InvalidRequest(f"{value} is no seed")'),
        'raise InvalidRequest("no pictures")',
    ),
    "fragment": (
        *('parser.error("choose one.")', 'complain("Error: no")', 'complain("error: no")'),
        *('raise ModelError("Take another")', 'complain("no!")', 'complain("no\\n")'),
    ),
    "python": (
        *('raise ModelError(f"take another: {error!r}")', 'complain("a ValueError came")'),
        'raise ModelError(f"take another: {type(error).__name__}")',
    ),
    "action": (
        *('raise ModelError("the file is damaged")', 'raise ConnectionFailed("it is closed")'),
        'raise GridsError("words of two models")',
    ),
}
GOOD = """
raise InvalidRequest(f"seed must be 0 to 7, not {seed!r}")
raise ConnectionFailed(f"{redacted(url)} cannot be reached; is the server running?")
raise ModelError(f"{path} is damaged; fetch it again")
parser.error("give a prompt, or a file of them with --prompts")
"""


@pytest.mark.parametrize("rule", RULES)
def test_every_text_is_in_the_house_form(rule: str) -> None:
    allowed = [part for name, part, _ in EXCEPTIONS if name == rule]
    broken = [text for text in texts() if RULES[rule](text)]
    told = [text for text in broken if not any(part in text.template for part in allowed)]
    assert not told, "\n".join(map(str, told))


# Strings of every kind that may show what sounds like a secret: the file, the expression, and why.
SHOWN = {
    ("pixels/download.py", "self._url"): "redacted where it is made",
    ("terminal/demo.py", "options.url"): "of the server that `demo` started itself",
    ("terminal/servers.py", "shlex.quote(options.url)"): "only where redacting changes nothing",
    ("terminal/show_models.py", "file.url"): "the server announces it to everybody",
    ("rowcast/messages.py", "self.token and '***'"): "nothing of it",
    ("rowcast/whole_files.py", "secrets.token_hex(4)"): "the name of a file",
    ("cluster/ray_cluster.py", "secrets.token_hex(4)"): "the name of a gateway",
    ("scaling/stamped_server.py", "server.ws_url"): "the server's own",
    ("rowcast_server/server.py", "self.ws_url"): "the server's own",
    ("rowcast_server/server.py", "self.http_url"): "the server's own",
    ("rowcast_server/server.py", "self._prometheus.url"): "the server's own",
    ("rowcast_server/server.py", "url_host(host or self._host)"): "the server's own",
    ("rowcast_server/server.py", "self._openai.url"): "its gateway's own",
    ("openai_gateway/command.py", "url"): "its own",
    ("gateway/prometheus.py", "url_host(host)"): "the server's own",
    ("rowcast_server/cli.py", "server.ws_url"): "the server's own",
    ("rowcast_server/cli.py", "server.http_url"): "the server's own",
    ("models/text.py", "token"): "of text",
    ("models/text.py", "vocab.get(token)"): "of text",
}


def shown_secrets() -> set[tuple[str, str]]:
    """Every secret in an f-string or a line of the log: its file and its expression."""
    found = set()
    for file, tree in trees().items():
        for node in ast.walk(tree):
            values: list[ast.expr] = []
            if isinstance(node, ast.FormattedValue):
                values = [node.value]
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in LEVELS:
                values = node.args[1:]
            found |= {(file, ast.unparse(value)) for value in values if secret(value)}
    return found


def test_no_string_and_no_log_shows_a_secret() -> None:
    found = shown_secrets()
    known = {
        each for each in found for end, value in SHOWN if each[0].endswith(end) and each[1] == value
    }
    assert found == known
    assert len(SHOWN) == len(known), "one of SHOWN is no more"


@pytest.mark.parametrize(("rule", "part"), [each[:2] for each in EXCEPTIONS])
def test_no_exception_outlives_its_text(rule: str, part: str) -> None:
    assert any(part in text.template and RULES[rule](text) for text in texts())


@pytest.mark.parametrize(
    ("rule", "source"), [(rule, source) for rule, each in EXAMPLES.items() for source in each]
)
def test_a_rule_finds_what_breaks_it(rule: str, source: str) -> None:
    assert any(RULES[rule](text) for text in read(source))


def test_a_text_in_the_house_form_breaks_no_rule() -> None:
    good = read(GOOD)
    assert len(good) == 4
    for name, rule in RULES.items():
        assert not any(map(rule, good)), name


def test_the_texts_are_found() -> None:
    """Those that a change of their form must not hide from the rules."""
    assert {text.file.split("/")[0] for text in texts()} >= {"client_py", "server", "vqgan_export"}
    told = {text.teller for text in texts()}
    assert told >= {"error", "complain", "warning", "ArgumentTypeError", "Refused"}
    assert len(told & {*parents()}) > 12
    assert len(texts()) > 250
    assert (
        sum(
            text.template.startswith("{") and "{" not in text.template[1:]
            for text in texts()
            if re.fullmatch(r"\{[^{}]*\}", text.template)
        )
        < 12
    )  # that pass on what they got
