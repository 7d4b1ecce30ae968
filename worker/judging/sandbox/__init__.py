"""Running a file that nobody vouches for: confined, limited, and watched."""
