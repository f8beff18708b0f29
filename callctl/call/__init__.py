"""A call from its offer to its records. Pure: values in, values out, and `now` is an argument.

events effects session      what can happen, what is to be done about it, and what a call is
machine                     the table: (state, event) -> handler
taking running ending       its handlers, by the age of a call; blind: of one that goes on without the store
admission checks trace      may it go ahead, and why; judgement: by what the store saw; channels, watched: what it takes
grant drawing               what a live call is granted, holds and draws upon before money
takes                       what is proposed to the store, whose script is the judge
anchor due bill settlement  what it costs in the end; cdr and affiliates: its records
subscription purchase       charges beside calls, in the same form
answer news                 what is told of it: to who asked, and to who listens
"""
