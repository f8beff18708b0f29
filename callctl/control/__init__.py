"""The only asynchronous logic: it brings the pure rooms together with switches, the store and the clock.

calls mailbox               one mailbox per call, in order
steps performer             what goes into the machine, and what it wants done
facts payer parts stock     what is looked up before a decision, all of it in memory
deadlines journal           what must happen later, and what the store could not be told
reconciler elsewhere late   what we believe beside what is: on switches, in other processes, after an end
switchboard within          switches that come and go; calls that pay for calls within them
outbox shares               records to the sinks, and affiliates' shares of them
charges licences alarms     subscriptions that are due, licences that switches know, what operators hear of
provider purchases audience around takes, charges and observers: what is done besides
"""
