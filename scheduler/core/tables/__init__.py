"""What the core knows of tasks, attempts, devices and files: tables that decide nothing about each other."""
