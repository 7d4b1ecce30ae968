"""The event loop that joins the core to the world, and what it is made of."""
