"""The front door: JSON over HTTP, described by itself at `/openapi.json`.

app routes openapi          a route is data: what is served and what is documented come from one line
auth seeing errors body     who asks, what they see, what is said to a mistake, how much is read
server connection fast_path how connections are kept, and the short way to a decision
decision asked answers      the way of a call; ops, metrics, links and switches: the way of its operators
schemas fields              definitions as they are written: capacity, destinations, thresholds, bundles
tariffs deckwork deckanswer decks: read beside the admissions, and what they would do (`purchases`)
accounts exchange limits    the other definitions, and money; `services` and `cdrs`
"""
