"""Turn docstring summaries and function names into queries as people type them in a search box."""

from __future__ import annotations

import re
from random import Random

_VERBS = """
    abort accept access activate add adjust aggregate align allocate allow analyze append apply
    approximate ask assemble assert assign attach authenticate average backup bind break build
    cache calculate call cancel cast center change check choose clean clear clip clone close
    collapse collect combine compare compile compose compress compute concatenate configure
    connect construct consume convert copy count crawl create crop cut deactivate decode
    decompose decompress decrypt deduplicate define delete derive describe deserialize destroy
    detach detect determine disable disconnect discover dispatch display divide download draw
    drop dump duplicate emit enable encode encrypt ensure enumerate escape estimate evaluate
    execute expand export extend extract fetch fill filter find finish fit flatten flip flush
    fold force format generate get give grab group guess handle hash hide identify import
    increment index infer initialize insert inspect install integrate interpolate intersect
    invert invoke iterate join keep kill launch limit list listen load locate lock log look
    lookup make mark mask match maximize measure merge migrate minimize modify monitor move
    multiply normalize notify obtain open optimize order overwrite pack pad parse paste patch
    perform pick place plot pop predict prepare prepend prevent print process produce project
    publish pull push put query quote raise randomize read rebuild receive record redirect
    reduce refresh register reject release reload remove rename render reorder repeat replace
    report request require resample reset reshape resize resolve restart restore retrieve return
    reverse revert rotate round run sample save scale scan schedule search select send separate
    serialize serve set shift show shuffle shut simplify simulate skip sleep smooth solve sort
    split spawn stack start stop store stream strip submit subtract sum suppress swap switch
    synchronize take tell terminate test throw toggle tokenize track train transform translate
    transpose traverse trigger trim truncate turn undo uninstall unlock unpack unregister unwrap
    update upgrade upload use validate verify view visit wait walk warn wrap write yield zip
"""
VERBS = frozenset(_VERBS.split())
SYNONYMS = {
    "return": ("get", "get", "find"),
    "retrieve": ("get",),
    "obtain": ("get",),
    "compute": ("calculate", "get"),
    "create": ("make",),
    "construct": ("make", "create"),
    "generate": ("create", "make"),
    "determine": ("find", "get"),
    "delete": ("remove",),
    "remove": ("delete",),
    "display": ("show", "print"),
    "perform": ("do",),
    "execute": ("run",),
    "convert": ("change", "turn"),
    "replace": ("change",),
    "concatenate": ("combine", "join"),
    "yield": ("get", "iterate over"),
    "read": ("load", "open"),
    "write": ("save",),
}
_STOP_WORDS = """
    a an the this that these those of to in on for from by with into as at and or is are be it
    its if whether given specified provided all any each we you your their which
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
FILLERS = frozenset(("given", "specified", "provided", "this", "the", "a", "an"))

VERB_TEMPLATES = (
    "python {}",
    "{} python",
    "{} in python",
    "how to {} in python",
    "how to {} python",
    "how to {} in python",
    "python how to {}",
    "python code to {}",
    "python function to {}",
    "how do i {} in python",
    "how do you {} in python",
    "{}",
)
NOUN_TEMPLATES = ("python {}", "{} python", "{} in python", "{}", "what is {} in python")
MAX_WORDS = 12

_CONDITION = re.compile(
    r"^(?:check|test|determine|verify|return|tell|decide|find out|find)"
    r"(?: true| a boolean| bool| boolean| a bool| indicating)* "
    r"(?:iff?|whether or not|whether) (.+)"
)
_CLAUSE = re.compile(r"[,;:]| - | -- | such that | so that | which | where | in order to |\. ")


def words_of_name(name: str) -> list[str]:
    """`parse_iso_date` and `parseISODate` are both parse, iso, date."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return re.findall(r"[a-z]+|[0-9]+", spaced.lower())


def base_verb(word: str) -> str | None:
    """The verb that a docstring starts with, without its third-person ending; None if no verb."""
    word = word.lower()
    for form in (word, word[:-1], word[:-2], word[:-3] + "y"):
        if form in VERBS and word in (form, form + "s", form + "es", form[:-1] + "ies"):
            return form
    return None


def plain_phrase(summary: str) -> list[str]:
    """The words of the first clause, lower case, without punctuation or parentheses."""
    text = re.sub(r"\([^)]*\)", " ", summary)
    text = _CLAUSE.split(text, maxsplit=1)[0].lower()
    return without_loose_end(re.findall(r"[a-z0-9_]+(?:'[a-z]+)?", text)[:MAX_WORDS])


def without_loose_end(words: list[str]) -> list[str]:
    """The words less the stop words at their end, which say nothing once the rest is cut off."""
    while words and words[-1] in STOP_WORDS:
        words = words[:-1]
    return words


def web_query(summary: str, random: Random) -> str | None:
    """A search-box form of a summary, or None if too few words are left of it."""
    words = plain_phrase(summary)
    if len(words) < 2:
        return None
    verb = base_verb(words[0])
    words[0] = verb or words[0]
    condition = _CONDITION.match(" ".join(words))
    if condition:
        opening = random.choice(
            ("check if", "check if", "check whether", "determine if", "test if")
        )
        words = [*opening.split(), *condition[1].split()]
    elif verb in SYNONYMS and random.random() < 0.6:
        words[:1] = random.choice(SYNONYMS[verb]).split()
    style = random.random()
    if style < 0.25:
        content = [w for w in words if w not in STOP_WORDS]
        if len(content) < 2:
            return None
        return random.choice(("{} python", "python {}", "{}")).format(" ".join(content))
    if style < 0.6:
        words = words[:1] + [w for w in words[1:] if w not in FILLERS]
    if len(words) < 2:
        return None
    templates = VERB_TEMPLATES if verb or condition else NOUN_TEMPLATES
    return random.choice(templates).format(" ".join(words))


def name_query(name: str, owner: str, random: Random) -> str | None:
    """A query from the words of a function's name, and of its class where the name is one word."""
    words = [w for w in words_of_name(name) if len(w) > 1]
    if len(words) < 2 or random.random() < 0.2:
        words += [w for w in words_of_name(owner) if len(w) > 1 and w not in words]
    words = without_loose_end(words[:MAX_WORDS])
    if len(words) < 2:
        return None
    templates = VERB_TEMPLATES if words[0] in VERBS else (*NOUN_TEMPLATES, "python function {}")
    return random.choice(templates).format(" ".join(words))
