"""Judging acceleration code: two files compared, statically and by running them, and scored."""
