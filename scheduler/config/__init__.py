"""The sweep file: its form, its reading, its values. Plain data and pure functions."""
