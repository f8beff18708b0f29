"""What a call costs, and how long some money buys. Pure, exact, rounded once per charge.

tariff                      a plan and the rows of its deck, as a provider writes them (`presets`: as other systems do)
builder                     a deck of rows, without contradictions
match levels ladder         the row of a number at every level of a reseller chain, as a price
pricing schedule exchange   what goes into a price: percentages of the purchase, bands, other currencies
price charge                a price, and both faces of it; `bundles` before it, `tax` after it
margin rules                is it sold at all
services subscriptions      what accounts pay besides calls; `quotation` before they do
decks/                      spreadsheets that become decks
whatif/                     past calls rated anew; `cases`: the examples of a contract
"""
