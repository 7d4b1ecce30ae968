"""What starts attempts, finds them again, stops them and tells of their end."""
