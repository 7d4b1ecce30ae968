"""What somebody asks of a sweep from another shell."""
