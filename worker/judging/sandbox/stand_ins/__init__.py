"""Modules that stand for packages while a program is judged; on its path before all others."""
