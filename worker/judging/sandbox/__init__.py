"""Run an untrusted program: confined, limited, and watched."""
