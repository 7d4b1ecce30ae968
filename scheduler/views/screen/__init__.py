"""How a sweep stands, as one picture: for the live screen and for `status`."""
