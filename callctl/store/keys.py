"""Every Redis key there is.

What belongs to a root account begins with its name in braces, `{root}`, but for the names of its calls.

    {root}:a:<account>     hash    bal, held, floor (micro-units), one field per channel counter, and "ids", a day's
                                   watched calls (`lua/watch.lua`, as the next three)
    {root}:i:<account>     hash    days of watched calls before that one, and what else is known of them
    {root}:w:<account>     list    when watched calls were attempted in the last minute
    {root}:n:<account>     stream  alerts of spend thresholds, and what operators did
    {root}:o:<account>     hash    what operators said of spend thresholds, by an id
    {root}:b:<account>     hash    per source "bal <source>" and "held <source>"; "block <source>" where it was bought
    {root}:t:<trunk>       hash    one field per channel counter
    {root}:l:<account>     stream  the ledger
    {root}:s:<trace id>    string  the record of a call (`lua/prelude.lua`)
    {root}:s:<id>:run      string  the same while it runs: what has changed since
    {root}:live            zset    trace ids of calls that hold something, by the end of their lease (wall ms)
    {root}:c:<account>     hash    by subscription: how far it is charged (`call/subscription.py`)
    {root}:g:<account>     string  where its hash is that has left for another root (`lua/settle.lua`)
    {root}:guests          set     keys of the records of other roots' calls that hold something of an account here
    {root}:outbox          stream  CDRs on their way to the feeds: account, payload
    {root}:op:<digest>     string  the first answer to a top-up
    {root}:cps:<name>:<s>  string  call attempts in that second
    call:<trace id>        string  the root of a call
    changes                stream  what every process must hear of: what, id
    feeds                  zset    names of feeds by when (Unix s) a process has last served them

What belongs to a feed begins with its name, and what is defined with one word.

    {feed:<feed>}:q                  stream  its records: account, at_ms, payload; the id is <sequence>-0
    {feed:<feed>}:place              hash    sequence, at_ms, and root:<root> = the last id moved of its outbox
    {definitions}:revision           string  counts every write of a definition
    {definitions}:written            zset    <kind>:<id> by the revision it was last written at
    {definitions}:<kind>             hash    JSON by id: account, group, trunk, plan, exchange, blocks,
                                             licence, limit, former_root; deck: chunks
    {definitions}:rows:<chunk>       string  1,000 rows of a deck in msgpack

The channels of the provider's own limits have one, too.

    {provider:limits}:<limit>:<counter>  zset    trace ids of calls, by the end of their lease (wall ms)

So have the services, counted and noted in the same way.

    {services}:revision, {services}:written
    {services}:catalogue             hash    JSON; its only field is "catalogue"
    {services}:subscriptions         hash    JSON by account
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Final
from urllib.parse import quote, unquote

CHANGES: Final = "changes"
CHANGES_KEPT: Final = 10_000
FEEDS: Final = "feeds"

UNLIMITED: Final = "unlimited"
"""The floor of an account that may owe any amount. An account that was never put has none: it may owe nothing."""

_DAY_S: Final = 86_400
ENDED_TTL_S: Final = 30 * _DAY_S
REFUSED_TTL_S: Final = 7 * _DAY_S
UNSERVED_FEED_S: Final = 7 * _DAY_S
TOP_UP_TTL_S: Final = 7 * _DAY_S
SAID_TTL_S: Final = 7 * _DAY_S
CALL_TTL_S: Final = 37 * _DAY_S

_NAMES: Final = 262_144
"""Whose words and keys are kept. All roots are asked about in turn: were there more of them than that, each would be
forgotten before its turn comes again, and with them what calls need."""


@lru_cache(maxsize=_NAMES)
def word(name: str) -> str:
    """A name as one word of a key or a record: without blanks, braces and line ends."""
    return quote(name, safe=":@+/=,;!*#&", errors="surrogatepass")


def name(word: str) -> str:
    """The name that a word stands for."""
    return unquote(word, errors="surrogatepass")


@lru_cache(maxsize=_NAMES)
def tag(root: str) -> str:
    """The hash tag. An attempt of nobody we know has no root; "%" is the word of no name."""
    return "{" + (word(root) or "%") + "}"


def floor(credit_limit: int | None) -> int | str:
    """How far below zero an account may go, as its hash says it."""
    return UNLIMITED if credit_limit is None else credit_limit


@lru_cache(maxsize=_NAMES)
def account(root: str, account: str) -> str:
    return f"{tag(root)}:a:{word(account)}"


def stock(root: str, account: str) -> str:
    return f"{tag(root)}:b:{word(account)}"


def watched(root: str, account: str) -> str:
    return f"{tag(root)}:i:{word(account)}"


def notes(root: str, account: str) -> str:
    return f"{tag(root)}:n:{word(account)}"


def trunk(root: str, trunk: str) -> str:
    return f"{tag(root)}:t:{word(trunk)}"


def ledger(root: str, account: str) -> str:
    return f"{tag(root)}:l:{word(account)}"


def charged(root: str, account: str) -> str:
    return f"{tag(root)}:c:{word(account)}"


def session(root: str, trace_id: str) -> str:
    return f"{tag(root)}:s:{trace_id}"


def admission(root: str, trace_id: str) -> list[str]:
    """The record of a call, where the calls of its root are listed, and where it is found by its name."""
    its = tag(root)
    return [f"{its}:s:{trace_id}", f"{its}:live", f"call:{trace_id}"]


def remembered(root: str, trace_id: str) -> tuple[str, str]:
    """The record of a call, and that of its running."""
    record = session(root, trace_id)
    return record, f"{record}:run"


@lru_cache(maxsize=_NAMES)
def live(root: str) -> str:
    return f"{tag(root)}:live"


def guests(root: str) -> str:
    return f"{tag(root)}:guests"


@lru_cache(maxsize=_NAMES)
def outbox(root: str) -> str:
    return f"{tag(root)}:outbox"


def top_up(root: str, account: str, id: str) -> str:
    return f"{tag(root)}:op:{_digest(account, id)}"


def said(root: str, account: str) -> str:
    return f"{tag(root)}:o:{word(account)}"


def _digest(account: str, id: str) -> str:
    named = f"{len(account)}:{account}{id}"  # the length keeps ("a", "bc") and ("ab", "c") apart
    return blake2b(named.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def attempts(root: str, name: str, second: int) -> str:
    return f"{tag(root)}:cps:{word(name)}:{second}"


def call(trace_id: str) -> str:
    return f"call:{trace_id}"


def feed(feed: str) -> str:
    return f"{{feed:{word(feed)}}}:q"


def feed_place(feed: str) -> str:
    return f"{{feed:{word(feed)}}}:place"


REVISION: Final = "{definitions}:revision"
WRITTEN: Final = "{definitions}:written"


def definitions(kind: str) -> str:
    return f"{{definitions}}:{kind}"


def provider(counter: str) -> str:
    return f"{{provider:limits}}:{word(counter)}"


def rows(chunk: str) -> str:
    return f"{{definitions}}:rows:{chunk}"


SERVICES_REVISION: Final = "{services}:revision"
SERVICES_WRITTEN: Final = "{services}:written"


def services(kind: str) -> str:
    return f"{{services}}:{kind}"
