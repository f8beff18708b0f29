"""What a simulated 3CX is, and what goes wrong with it. Each surprise of the real one can be switched on by itself."""

from typing import Literal

import msgspec

from callctl.simulators.threecx.cdrlines import FIELDS


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """How the PBX is installed. `client_id` is also the DN of the route point.

    `watched`: the extensions that the client may see besides its route point. `cdr`: how CDR lines leave the PBX; in
    mode `active` it connects to `cdr_port`, in mode `passive` it listens there (0: any free port).
    """

    client_id: str = "900"
    secret: str = "secret"
    extensions: tuple[str, ...] = ("111", "112", "113", "115")
    watched: tuple[str, ...] = ("111", "112", "113")
    trunk: str = "10000"
    sim_calls: int = 16
    licence_expires: str = "2027-11-22T00:00:00Z"
    licence_active: bool = True
    product: str = "3CXENT16"
    xapi: bool = True
    cdr: Literal["none", "active", "passive"] = "none"
    cdr_port: int = 0
    cdr_fields: tuple[str, ...] = FIELDS


class Faults(msgspec.Struct, kw_only=True):
    """What goes wrong from now on. Numbers of times count down as they are used."""

    # tokens
    token_ttl_s: float = 3600
    expires_in_unit: Literal["seconds", "minutes"] = "seconds"
    opaque_token: bool = False
    """The token is no JWT, so that only `expires_in` tells its lifetime."""
    single_active_token: bool = True
    token_kills_streams: bool = True
    include_refresh_token: bool = False
    bad_client_status: Literal[400, 401] = 401
    refuse_tokens: int = 0
    """So many times nobody gets a token."""
    accept_multipart: bool = True
    # requests
    unauthorized: int = 0
    """So many requests are answered 401."""
    get_statuses: list[int] = []
    """What the next GETs of a participant are answered with, one after the other."""
    list_statuses: list[int] = []
    """The same of a DN's list of participants."""
    snapshot_statuses: list[int] = []
    forbid_entity: bool = False
    """A participant itself may not be read (403), the list of its DN may."""
    slow_get_ms: int = 0
    """A GET is answered so late, with what was true when it was asked."""
    action_statuses: list[int] = []
    actions_rejected: int = 0
    """So many actions are answered 200 and not done."""
    lose_replies: int = 0
    """So many actions are done, and their connection breaks before the answer."""
    reply_delay_ms: int = 0
    stream_424: int = 0
    stream_status: Literal[200, 202] = 200
    stream_hangs: bool = False
    """A sound is taken to its end and never answered."""
    # what answers look like
    string_ids: bool = False
    numeric_finalstatus: bool = False
    missing_result: bool = False
    empty_did: bool = False
    null_lists: bool = False
    """Lists that are empty are told as null."""
    bare_lines: bool = False
    """The list of DNs tells of nobody who is there: null, whoever it is."""
    single_as_list: bool = False
    """GET of one DN answers a list of one."""
    unknown_status: bool = False
    """A connected participant is told as `Talking`."""
    participant_uid: bool = False
    """A participant has an id that no other ever has, as newer builds tell it."""
    unknown_progress: bool = False
    """One that dials is told as `Routing`."""
    trunk_unnamed: bool = False
    """The other side of a trunk is told by its type alone, without the trunk's DN."""
    late_party: bool = False
    """A number that was dialled is not told to be routed anywhere until it rings."""
    # events
    repeat_ms: int = 750
    """A participant that dials or rings is told again so often; 0: never."""
    attached: bool = False
    """`attached_data` holds the participant."""
    duplicate: bool = False
    reorder: bool = False
    """Every event is told after the one that follows it, or 200 ms later."""
    late_ms: int = 0
    lose: int = 0
    """So many events are counted and never sent."""
    lose_ends: bool = False
    """No participant is told to be removed."""
    unknown_events: bool = False
    binary_frames: bool = False
    stalled: bool = False
    """The websocket stays open and pings are answered; no events come."""
    # the route point
    route_point_rings: bool = False
    late_number_ms: int = 0
    """So long an extension that comes to the route point shows that it has called that, and not what it dialled."""
    delivered_at_once: bool = False
    """`routeto` is answered when the new leg rings, not when it is answered."""
    # the PBX
    stuck_rows: bool = False
    """XAPI goes on listing calls that are over."""
    keep_counters: bool = False
    """Its counters do not begin anew with a restart."""
    refuse_by_removal: bool = False
    """At the limit of calls, makecall succeeds and the participant vanishes at once."""
    split_cdr_bytes: int = 0
    """CDR lines are sent in pieces of so many bytes."""
    new_cdr_tokens: bool = False
    """Reasons and types as V20 writes them since update 6: lower case, other words."""
