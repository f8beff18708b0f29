"""The store in plain dictionaries: what the scripts over Redis mean, as short as it can be. One suite tests both."""
