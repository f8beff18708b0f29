"""Past calls rated anew: what another plan would have earned, and the corrections of a wrong one."""
