"""callctl: may this call go ahead, for how long, and what does it cost?"""

__version__ = "0.1.0"
