"""Every Redis key and script. What takes or gives back is one script, idempotent by an id of the call.

redis sessions records lua/ takes, calls and books; `memory` says the same in plain Python, under the same tests
keys                        every key there is
link scripts alone          one connection, many requests in flight; address: where it leads
definitions decks moving    accounts, plans and rows: written by one, followed by all (`follower`, `registry`)
feeds services charging     records on their way out; subscriptions, blocks and what they cost
watching history provider   thresholds, ledgers and the provider's own limits, for operators
embedded doctor recounting  a server of our own; what any server would lose; counting again
"""
