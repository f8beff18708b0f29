"""Where records and events leave the house: files and brokers. Each in order, and once."""
