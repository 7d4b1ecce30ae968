"""The process that speaks to Ray, and looks after attempts until they are over."""
